"""Clips of a dataset that a condition is true of: as a label column, or as a list of the others to be taken out.

Nothing is deleted: the column has the labels of the clips that are selected and none of the others, and a list does
nothing until `avprep exclude` or `avprep manifest` reads it. Both record the condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avprep.dataset import Dataset, LabelColumn, check_single
from avprep.errors import UserError
from avprep.labels.columns import NONE, claim_column, path_of, write_labels
from avprep.manifest.id_lists import write_ids
from avprep.quality.measures import COLUMNS, VERSION
from avprep.quality.table import read_quality
from avprep.quality.where import columns_of, selected, unknown_column

MEASURES = [field.name for field in COLUMNS if pa.types.is_floating(field.type)]
"""columns of quality.parquet that a condition may name; others are of the index"""


@dataclass(frozen=True)
class Selection:
    """Which rows of the index a condition is true of."""

    dataset: Dataset
    condition: str
    rows: np.ndarray
    """bool [rows of the index]"""

    @property
    def selected(self) -> int:
        """How many clips there are."""
        return int(self.rows.sum())

    @property
    def others(self) -> int:
        """How many clips there are not."""
        return len(self.rows) - self.selected


def select(dataset: Dataset, condition: str) -> Selection:
    """The clips that a condition (quality.where) is true of.

    Errors: UserError where it is none, names no column of the dataset, is true of no clip, or the measures that it
    names have not been made.
    """
    names = columns_of(condition)
    table = _table(dataset, names)
    rows = selected(condition, table)
    chosen = rows.to_numpy().astype(bool)
    if not chosen.any():
        raise UserError(f"No clip of {dataset.folder} fits {condition!r}; the columns hold {_ranges(table, names)}.")
    return Selection(dataset, condition, chosen)


def write_column(selection: Selection, name: str, *, labels: str = "label", replace: bool = False) -> Path:
    """The path of the label column `name`: the column `labels` of the clips that are selected, no label for others.

    Errors: UserError where another column of this name is there, unless `replace`.
    """
    dataset = selection.dataset
    column = dataset.labels(labels)
    check_single(column, labels, "A selection")
    origin = {"command": "select", "where": selection.condition, "labels": labels, "measures": VERSION}
    whole = claim_column(dataset, name, origin, replace)
    if whole is None:
        return path_of(dataset, name)
    values = np.where(selection.rows, column.values, NONE).astype(np.int32)
    return write_labels(dataset, name, LabelColumn(values, column.class_names), whole)


def write_others(selection: Selection, out: Path) -> int:
    """Write the ids of the clips that are not selected, for 'avprep exclude --ids'; returns how many.

    Errors: UserError where all clips are selected: there is nothing to write.
    """
    rows = np.flatnonzero(~selection.rows)
    if not len(rows):
        raise UserError(
            f"Every clip of {selection.dataset.folder} fits {selection.condition!r}; there is no list to write."
        )
    comment = f"avprep select {selection.dataset.folder}: clips that do not fit {selection.condition}"
    write_ids(out, selection.dataset.ids_of(rows).to_pylist(), comment)
    return len(rows)


def _table(dataset: Dataset, names: list[str]) -> pa.Table:
    """The columns that a condition names. Errors: UserError where there is no such column."""
    of_index: dict[str, Any] = {
        "clip_id": lambda: dataset.ids_of(np.arange(len(dataset))).cast(pa.string()),
        "label": lambda: pa.array(np.array(dataset.class_names, object)[dataset.label], pa.string()),
        "split": lambda: pa.array(np.array(dataset.splits, object)[dataset.split], pa.string()),
        "duration_seconds": lambda: pa.array(dataset.duration_seconds),
        "num_frames": lambda: pa.array(dataset.num_frames),
        "av_offset_seconds": lambda: pa.array(dataset.av_offset_seconds),
    }
    for name in names:
        if name not in MEASURES and name not in of_index:
            raise unknown_column(name, [*MEASURES, *of_index])
    measures = [name for name in names if name in MEASURES]
    columns = {name: of_index[name]() for name in names if name in of_index}
    if measures:
        table = read_quality(dataset, measures)
        columns |= {name: table.column(name) for name in measures}
    return pa.table(columns)


def _ranges(table: pa.Table, names: list[str]) -> str:
    """The least and the greatest value of each column of numbers, the values of others."""
    parts = []
    for name in names:
        column = table.column(name)
        if column.null_count == len(column):
            parts.append(f"{name}: no values")
        elif pa.types.is_string(column.type):
            some = pc.unique(column).slice(0, 5).to_pylist()
            parts.append(f"{name}: {', '.join(map(str, some))}")
        else:
            least, greatest = (pc.min_max(column)[key].as_py() for key in ("min", "max"))
            parts.append(f"{name}: {least:g} to {greatest:g}")
    return "; ".join(parts)
