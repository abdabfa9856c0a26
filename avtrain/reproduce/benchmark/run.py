"""The order of a benchmark's cells, and the table that grows with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from avprep.shared.errors import UserError
from avtrain.reproduce import run_grid
from avtrain.reproduce.av_digits.rows import Row
from avtrain.reproduce.benchmark.cells import Cell, run_cell
from avtrain.reproduce.benchmark.table import MAIN, Layout, Line, write_table


def rows_among(rows: tuple[Row, ...], names: Sequence[str], usual: tuple[Row, ...]) -> tuple[Row, ...]:
    """The `rows` of these slugs, in the table's order; without names the `usual` ones.

    Errors: UserError for a slug that no row has.
    """
    strangers = set(names) - {row.slug for row in rows}
    if strangers:
        raise UserError(f"There is no row {sorted(strangers)[0]!r}; choose from {', '.join(row.slug for row in rows)}.")
    return tuple(row for row in rows if row.slug in names) if names else usual


def in_turn(rows: Sequence[Row], runs: int, folds: int) -> Iterator[tuple[Row, int]]:
    """(row, run) of all cells: all rows on each fold once before any is on one again."""
    for first in range(0, runs, folds):
        for row in rows:
            for run in range(first, min(first + folds, runs)):
                yield row, run


def fill(
    out: Path,
    cells: list[Cell],
    settings: Any,
    layout: Layout,
    title: str,
    workers: int,
    stopping: Callable[[], bool],
) -> list[Line]:
    """Run the missing cells and return the table's lines (table.summary); the table's files grow cell by cell.

    Errors: Interrupted once `stopping()`.
    """
    results: list[dict[str, Any]] = []
    for result in run_grid.results_of(run_cell, cells, workers, stopping, title, _note):
        results.append(result)
        write_table(out, results, settings, layout)
    return write_table(out, results, settings, layout)


def _note(result: dict[str, Any]) -> str:
    return f"{result['name']} {result['run']}: {100 * result['scores'].get(MAIN, 0):.1f} %"
