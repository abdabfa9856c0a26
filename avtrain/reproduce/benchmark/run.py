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

REFUSED = "refused"


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

    Errors: Interrupted once `stopping()`; UserError after all others are made, where a cell cannot be.
    """
    results: list[dict[str, Any]] = []
    refused: list[str] = []
    for result in run_grid.results_of(_tried, cells, workers, stopping, title, _note):
        if REFUSED in result:
            refused.append(result[REFUSED])
            continue
        results.append(result)
        write_table(out, results, settings, layout)
    lines = write_table(out, results, settings, layout)
    if refused:
        raise UserError(
            f"{len(refused)} of {len(cells)} cells could not be made, such as {sorted(refused)[0]} All others are in "
            f"{out / 'table.md'}."
        )
    return lines


def _tried(cell: Cell) -> dict[str, Any]:
    """The result of a cell, or why it cannot be made: one of many ends no table."""
    try:
        return run_cell(cell)
    except UserError as error:
        return {REFUSED: f"{cell.folder.name}: {error}"}


def _note(result: dict[str, Any]) -> str:
    if REFUSED in result:
        return str(result[REFUSED])
    return f"{result['name']} {result['run']}: {100 * result['scores'].get(MAIN, 0):.1f} %"
