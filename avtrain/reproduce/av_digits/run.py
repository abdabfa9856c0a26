"""avtrain reproduce av-digits: which sampling teaches an audio encoder most from 400 real recordings, with controls.

Run s of a row uses fold s mod 3 (two speakers never heard in training are the test) and clips of its own; every row of
a run sees the same clips and is trained for equally many updates. What is done is never done again: the same command
goes on after any stop, to the same table. Choices were made on validation speakers only (README, "av-digits").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.build.run import default_workers
from avprep.shared import configs
from avprep.shared.commands import Progress
from avprep.shared.errors import UserError
from avprep.shared.processes import map_processes
from avtrain.reproduce.av_digits.cells import Cell, run_cell
from avtrain.reproduce.av_digits.data import Sources, prepare_digits, prepare_sounds
from avtrain.reproduce.av_digits.rows import CLASSES, FOLDS, QUICK, ROWS, Row
from avtrain.reproduce.av_digits.table import write_table


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

    def __post_init__(self) -> None:
        clips = CLASSES * self.clips_per_class
        configs.check(self.runs >= 1 and self.epochs >= 1, "runs and epochs must be 1 or more.")
        configs.check(
            2 <= self.batch_size <= clips,
            f"batch_size must be 2 to {clips}, the training clips, not {self.batch_size}.",
        )

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


QUICKLY = DigitsSettings(clips_per_class=20, runs=3, batch_size=32, epochs=25, finetune_epochs=10, longer_epochs=100)


def rows_named(names: Sequence[str], quick: bool = False) -> tuple[Row, ...]:
    """The rows of these slugs, in the table's order; without names all, or those of the quick table.

    Errors: UserError for a slug that no row has.
    """
    strangers = set(names) - {row.slug for row in ROWS}
    if strangers:
        raise UserError(f"There is no row {sorted(strangers)[0]!r}; choose from {', '.join(row.slug for row in ROWS)}.")
    return tuple(row for row in ROWS if row.slug in names) if names else QUICK if quick else ROWS


def reproduce_digits(
    out: Path,
    sources: Sources,
    settings: DigitsSettings,
    rows: Sequence[Row] = ROWS,
    *,
    workers: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Run the cells that lack, all rows on three folds before any is on three more; the table's lines (table.summary).

    `out` gets data/, runs/, results.csv and table.md, which grow cell by cell. Errors: UserError where recordings lack
    or `out` was made with other settings; Interrupted once `stopping()`.
    """
    workers = workers or default_workers()
    configs.claim(out / "settings.json", configs.to_dict(settings), "table")
    links = {(row.link, run) for row in rows for run in range(settings.runs)}
    wanted = {link: {row.labels for row in rows if row.link == link} for link, _ in links}
    digits = {
        (link, run): prepare_digits(
            out / "data" / f"{link}-{run}",
            sources.fsdd,
            settings,
            run,
            run % FOLDS,
            link,
            wanted[link],
            workers,
            stopping,
        )
        for link, run in sorted(links)
    }
    sounds = prepare_sounds(out / "data" / "esc10", sources.esc10, settings.runs, workers, stopping)
    cells = [
        Cell(
            row=row,
            run=run,
            digits=digits[row.link, run],
            sounds=sounds[run],
            folder=out / "runs" / f"{row.slug}-{run}",
            settings=settings,
        )
        for first in range(0, settings.runs, FOLDS)
        for row in rows
        for run in range(first, min(first + FOLDS, settings.runs))
    ]
    results: list[dict[str, Any]] = []
    with Progress(len(cells), "cells", "av-digits") as progress:
        for result in map_processes(run_cell, cells, workers, stopping):
            results.append(result)
            write_table(out, results, settings)
            progress.advance(note=f"{result['name']} {result['run']}: {100 * result['scores'].get('linear', 0):.1f} %")
    return write_table(out, results, settings)
