"""avtrain reproduce av-digits: which sampling teaches an audio encoder most from 400 real recordings, with controls.

Run s of a row uses fold s modulo their number (the speakers of a fold, outside training, are the test) and clips of its
own; every row of a run sees the same clips and is trained for equally many updates. What is done is never done again:
the same command goes on after any stop, to the same table. Choices were made on validation speakers only (README,
"av-digits").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avprep.build.run import default_workers
from avprep.shared import configs
from avtrain.reproduce.av_digits.data import Sources, prepare_digits, prepare_sounds
from avtrain.reproduce.av_digits.rows import CHOOSING, QUICK, ROWS, Row
from avtrain.reproduce.av_digits.settings import DigitsSettings
from avtrain.reproduce.av_digits.table import layout_of
from avtrain.reproduce.benchmark.cells import Cell
from avtrain.reproduce.benchmark.columns import FROZEN
from avtrain.reproduce.benchmark.run import fill, in_turn, rows_among


def rows_named(names: Sequence[str], quick: bool = False, choosing: bool = False) -> tuple[Row, ...]:
    """The rows of these slugs, in the table's order; without names all, those of the quick table, or to choose among.

    Errors: UserError for a slug that no row has.
    """
    rows = CHOOSING if choosing else ROWS
    return rows_among(rows, names, QUICK if quick else rows)


def reproduce_digits(
    out: Path,
    sources: Sources,
    settings: DigitsSettings,
    rows: Sequence[Row] = ROWS,
    *,
    workers: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Run the missing cells, all rows on all folds before any is on one again; the table's lines (table.summary).

    `out` gets data/, runs/, results.csv and table.md, which grow cell by cell. Errors: UserError where recordings
    are missing or `out` was made with other settings; Interrupted once `stopping()`.
    """
    workers = workers or default_workers()
    configs.claim(
        out / "settings.json", {**configs.to_dict(settings), **sources.on_record}, "table", {"choosing": False}
    )
    layout = layout_of(sources.corpus)
    links = {(row.link, run) for row in rows for run in range(settings.runs)}
    wanted = {link: {row.labels for row in rows if row.link == link} for link, _ in links}
    data = {(link, run): out / "data" / f"{link}-{run}" for link, run in sorted(links)}
    digits = {
        (link, run): prepare_digits(
            folder, sources, settings, run, run % layout.folds, link, wanted[link], workers, stopping
        )
        for (link, run), folder in data.items()
    }
    sounds = prepare_sounds(out / "data" / "esc10", sources.esc10, settings.runs, workers, stopping)
    cells = [
        Cell(
            row=row,
            run=run,
            seed=settings.seed_of(run),
            dataset=digits[row.link, run],
            labels=row.labels,
            frozen=data[row.link, run] / FROZEN,
            outside=sounds[run],
            folder=out / "runs" / f"{row.slug}-{run}",
            amounts=settings.amounts_of(row),
        )
        for row, run in in_turn(rows, settings.runs, layout.folds)
    ]
    return fill(out, cells, settings, layout, "av-digits", workers, stopping)
