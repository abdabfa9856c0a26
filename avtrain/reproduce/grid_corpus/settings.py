"""How much of the GRID benchmark is run, and on which words."""

from __future__ import annotations

from dataclasses import dataclass

from avprep.datasets.grid_corpus import WORDS
from avprep.shared import configs
from avtrain.reproduce.av_digits.rows import Row
from avtrain.reproduce.benchmark.cells import Amounts


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """How much is run; what the rows are is in rows.py."""

    label: str = "digit"
    """the word of each sentence that is its class"""
    window_seconds: int = 1
    """of sound; pictures of half that time go with it"""
    whole_clips: bool = False
    """windows over whole clips, even where align files have the time of the word"""
    folds: int = 3
    """parts of the speakers (of the sentences, with one speaker), each of which is the test once"""
    runs: int = 6
    """of each row; run s tests fold s modulo folds"""
    updates: int = 600
    """of pretraining, of every row"""
    batch_size: int = 64
    learning_rate: float = 1e-3
    """of Adam, for pretraining, finetuning and supervised training"""
    finetune_epochs: int = 60
    """of finetuning; supervised training makes as many updates as pretraining and finetuning together"""
    longer_epochs: int = 1000
    """of supervised training that goes on until the validation loss no longer falls: at most"""
    longer_patience: int = 100
    """epochs after which it ends where the validation loss has not fallen"""
    frame_size: int = 48

    def __post_init__(self) -> None:
        configs.check(self.label in WORDS, f"label must be one of {', '.join(WORDS)}, not {self.label!r}.")
        configs.check(
            1 <= self.window_seconds <= 3,
            f"window_seconds must be 1 to 3, the length of a clip, not {self.window_seconds}.",
        )
        configs.check(self.folds >= 2, f"folds must be 2 or more, not {self.folds}.")
        configs.check(self.runs >= 1 and self.updates >= 1, "runs and updates must be 1 or more.")
        configs.check(self.batch_size >= 2, f"batch_size must be 2 or more, not {self.batch_size}.")

    def amounts_of(self, row: Row) -> Amounts:
        """How much `row` trains."""
        return Amounts(
            updates=self.updates,
            supervised_updates=self.updates,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            finetune_epochs=self.finetune_epochs,
            longer_epochs=self.longer_epochs,
            longer_patience=self.longer_patience,
            finetune_windows=4,
            window_seconds=self.window_seconds,
        )


QUICKLY = {"runs": 3, "updates": 60, "batch_size": 32, "finetune_epochs": 5, "longer_epochs": 20}
"""settings of the quick table"""
