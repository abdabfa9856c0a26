"""How much of av-digits is run."""

from __future__ import annotations

from dataclasses import dataclass

from avprep.shared import configs
from avtrain.reproduce.av_digits.rows import CLASSES, Row
from avtrain.reproduce.benchmark.cells import Amounts

CHOOSING_SEED = 100


@dataclass(frozen=True, kw_only=True)
class DigitsSettings:
    """How much is run; what the rows are is in rows.py."""

    clips_per_class: int = 40
    """training clips of each digit"""
    runs: int = 6
    """of each row; three are the three folds once"""
    batch_size: int = 64
    epochs: int = 100
    """passes over the training clips at that batch size; all rows make as many updates as these do"""
    learning_rate: float = 1e-3
    """of Adam, for pretraining, finetuning and supervised training"""
    finetune_epochs: int = 60
    """of finetuning; supervised training makes as many updates as pretraining and finetuning together"""
    longer_epochs: int = 1000
    """of supervised training that goes on until the validation loss no longer falls: at most"""
    longer_patience: int = 100
    """epochs after which it ends where the validation loss has not fallen"""
    frame_size: int = 48
    choosing: bool = False
    """whether rows are to be chosen among: measured on the validation speaker, with clips of other seeds; clips of the
    test speakers are not built"""

    def __post_init__(self) -> None:
        clips = CLASSES * self.clips_per_class
        configs.check(self.runs >= 1 and self.epochs >= 1, "runs and epochs must be 1 or more.")
        configs.check(
            2 <= self.batch_size <= clips,
            f"batch_size must be 2 to {clips}, the training clips, not {self.batch_size}.",
        )

    def seed_of(self, run: int) -> int:
        """The seed of a run's clips and training."""
        return CHOOSING_SEED + run if self.choosing else run

    @property
    def updates(self) -> int:
        """Updates of every row."""
        return self.epochs * (CLASSES * self.clips_per_class // self.batch_size)

    def updates_of(self, row: Row) -> int:
        """Updates that `row` makes in pretraining."""
        return self.updates if row.equal == "updates" else self.updates * self.batch_size // self.batch_of(row)

    def batch_of(self, row: Row) -> int:
        """Pairs in a batch of `row`."""
        return {"usual": self.batch_size, "classes": CLASSES, "class": self.clips_per_class}[row.batch]

    def amounts_of(self, row: Row) -> Amounts:
        """How much `row` trains."""
        return Amounts(
            updates=self.updates_of(row),
            supervised_updates=self.updates,
            batch_size=self.batch_of(row),
            learning_rate=self.learning_rate,
            finetune_epochs=self.finetune_epochs,
            longer_epochs=self.longer_epochs,
            longer_patience=self.longer_patience,
            finetuned=not self.choosing,
        )


QUICKLY = DigitsSettings(clips_per_class=20, runs=3, batch_size=32, epochs=25, finetune_epochs=10, longer_epochs=100)
CHOOSINGLY = DigitsSettings(runs=3, choosing=True)
