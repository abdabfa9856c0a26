"""A grid of runs: each cell made once and read from then on, in processes side by side; its figures as text.

The demo, av-digits and the paper's tables are such grids. A cell is done once its result is there, a JSON file that is
written last, whole or not at all; a cell that was stopped goes on from what its own folder holds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.errors import UserError
from avprep.shared.processes import map_processes

Cell = TypeVar("Cell")
Result = dict[str, Any]
Rows = Sequence[Sequence[str]]


def result_at(path: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any] = configs.NONE) -> Result | None:
    """The result saved at `path`, None where it is not there yet.

    `settings` are parts of it that key it. One that it does not hold, as it is older than the setting, had the value in
    `defaults`. Errors: UserError where it was made with other settings.
    """
    if not path.exists():
        return None
    result: Result = store.read_json(path)
    saved = {name: result.get(name) for name in settings}
    others = configs.differences(configs.flat_with(saved, settings, defaults), settings)
    if others:
        raise UserError(
            f"{path} was made by other settings ({'; '.join(others)}); remove the folder of the cell in runs/, and it "
            "is made again."
        )
    return result


def result_of(
    path: Path,
    settings: Mapping[str, Any],
    make: Callable[[], Result],
    is_whole: Callable[[Result], bool] = lambda result: True,
    defaults: Mapping[str, Any] = configs.NONE,
) -> Result:
    """The result of a cell: read from `path`, or made on one thread and written there if it is missing or not whole.

    `settings` and `defaults` as in `result_at`.
    """
    saved = result_at(path, settings, defaults)
    if saved is not None and is_whole(saved):
        return saved
    import torch  # which a process that makes nothing does without

    torch.set_num_threads(1)
    result = make()
    store.write_json(path, result)
    return result


def results_of(
    run_cell: Callable[[Cell], Result],
    cells: list[Cell],
    workers: int,
    stopping: Callable[[], bool],
    title: str,
    note: Callable[[Result], str] = lambda result: "",
) -> Iterator[Result]:
    """Results of run_cell(cell) as they come, from `workers` processes, with a bar of progress that shows `note`.

    Errors: Interrupted once `stopping()`; those of `run_cell`.
    """
    with Progress(len(cells), "cells", title) as progress:
        for result in map_processes(run_cell, cells, workers, stopping):
            yield result
            progress.advance(note=note(result))


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as CSV with \\n at the ends of lines."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def aligned(rows: Rows) -> list[str]:
    """Lines for a terminal, with columns as wide as their longest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def markdown(rows: Rows) -> list[str]:
    """Lines of a Markdown table without the one below its header."""
    return ["| " + " | ".join(row) + " |" for row in rows]
