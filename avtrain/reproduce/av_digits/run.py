"""avtrain reproduce av-digits: which sampling teaches an audio encoder most from 400 real recordings, with controls.

Run s of a row uses fold s mod 3 (two speakers outside training are the test) and clips of its own; every row of
a run sees the same clips and is trained for equally many updates. What is done is never done again: the same command
goes on after any stop, to the same table. Choices were made on validation speakers only (README, "av-digits").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avprep.build.run import default_workers
from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.reproduce import grid
from avtrain.reproduce.av_digits.cells import Cell, run_cell
from avtrain.reproduce.av_digits.data import Sources, prepare_digits, prepare_sounds
from avtrain.reproduce.av_digits.rows import CHOOSING, FOLDS, QUICK, ROWS, Row
from avtrain.reproduce.av_digits.settings import DigitsSettings
from avtrain.reproduce.av_digits.table import write_table


def rows_named(names: Sequence[str], quick: bool = False, choosing: bool = False) -> tuple[Row, ...]:
    """The rows of these slugs, in the table's order; without names all, those of the quick table, or to choose among.

    Errors: UserError for a slug that no row has.
    """
    rows = CHOOSING if choosing else ROWS
    strangers = set(names) - {row.slug for row in rows}
    if strangers:
        raise UserError(f"There is no row {sorted(strangers)[0]!r}; choose from {', '.join(row.slug for row in rows)}.")
    return tuple(row for row in rows if row.slug in names) if names else QUICK if quick else rows


def reproduce_digits(
    out: Path,
    sources: Sources,
    settings: DigitsSettings,
    rows: Sequence[Row] = ROWS,
    *,
    workers: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Run the missing cells, all rows on three folds before any is on three more; the table's lines (table.summary).

    `out` gets data/, runs/, results.csv and table.md, which grow cell by cell. Errors: UserError where recordings
    are missing or `out` was made with other settings; Interrupted once `stopping()`.
    """
    workers = workers or default_workers()
    configs.claim(out / "settings.json", configs.to_dict(settings), "table", {"choosing": False})
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
    for result in grid.results_of(run_cell, cells, workers, stopping, "av-digits", _note):
        results.append(result)
        write_table(out, results, settings)
    return write_table(out, results, settings)


def _note(result: dict[str, Any]) -> str:
    return f"{result['name']} {result['run']}: {100 * result['scores'].get('linear', 0):.1f} %"
