"""Multi-label columns: labels/NAME.parquet with clip_id and labels, a list of class names a clip.

Such a column names what is audible in a clip, for `avtrain evaluate --audible NAME`. An empty list means that nothing
is; a clip that the table does not have is null, which is no answer. Names need not be classes of the dataset: a table
made for a larger one serves its parts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avprep import schema
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.labels.columns import check_table, claim_column, class_name, is_nothing, values_of_table
from avprep.shared import store


@dataclass(frozen=True)
class AddedLists:
    """What a multi-label column came to: clips of the index by what it has on them, and what it has beyond them."""

    labelled: int
    empty: int
    missing: int
    unused: int
    """clips of the table that failed or were excluded"""
    strangers: list[str]
    """names that are no class of the dataset, in order"""


def add_label_lists(
    dataset: Dataset, path: Path, name: str, *, column: str = "label", separator: str = ";", replace: bool = False
) -> AddedLists:
    """Write the multi-label column `name` from a user's table.

    Errors: UserError as lists_of_table, and where another column of this name is there.
    """
    check_table(dataset, path, name)
    given = lists_of_table(dataset, path, column, separator)
    settings = {"command": "add-labels", "column": column, "multi": True, "separator": separator}
    origin = claim_column(dataset, name, {**settings, "file_sha256": store.sha256(path)}, replace)
    return write_given(dataset, name, given, origin)


def write_given(
    dataset: Dataset, name: str, given: Mapping[str, Collection[str] | None], origin: dict[str, Any] | None
) -> AddedLists:
    """Write the column `name` of the names that clips are given by id, unless `origin` is None: it is there already."""
    lists = [given.get(clip_id) for clip_id in dataset.clip_ids]
    if origin is not None:
        path = dataset.local_folder / schema.labels_path(name)
        write_lists(path, dataset.clip_ids, [None if names is None else sorted(set(names)) for names in lists], origin)
    known = [names for names in lists if names is not None]
    return AddedLists(
        labelled=sum(bool(names) for names in known),
        empty=sum(not names for names in known),
        missing=len(lists) - len(known),
        unused=len(given.keys() - set(dataset.clip_ids)),
        strangers=sorted(frozenset().union(*known) - set(dataset.class_names)),
    )


def lists_of_table(dataset: Dataset, path: Path, column: str, separator: str) -> dict[str, frozenset[str] | None]:
    """The names that a CSV, JSONL or Parquet table with clip_id and `column` gives each clip, None where null.

    A value is a list, or names divided by `separator`; several rows of a clip are taken together. Errors: UserError
    with all clip ids that are not in the manifest, and labels of another kind, together.
    """
    return values_of_table(dataset, path, column, lambda value: _names(value, separator), _both)


def _names(value: Any, separator: str) -> frozenset[str] | None:
    """Errors: ValueError."""
    if is_nothing(value):
        return None
    parts = value.split(separator) if isinstance(value, str) else value if isinstance(value, list) else [value]
    return frozenset(name for part in parts if (name := class_name(part)) is not None)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return other if one is None else one if other is None else one | other


def read_origin(path: Path) -> dict[str, Any]:
    """How a label column was made, {} where its file has no word of it. Errors: UserError where it cannot be read."""
    try:
        stored = (pq.read_schema(path).metadata or {}).get(schema.LABEL_ORIGIN_KEY, b"{}")
        origin = json.loads(stored)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is no label column ({error}); delete it, or make it again.") from None
    return origin if isinstance(origin, dict) else {}


def write_lists(path: Path, clip_ids: list[str], lists: list[list[str] | None], origin: dict[str, Any]) -> None:
    """Write a multi-label column's file atomically: names of each clip, None for not known."""
    columns = {"clip_id": clip_ids, "labels": lists}
    metadata = {schema.LABEL_ORIGIN_KEY: store.json_text(origin, sort_keys=True)}
    table = pa.table(columns, schema.LABEL_LISTS_SCHEMA.with_metadata(metadata))
    with store.atomic_path(path) as temporary:
        pq.write_table(table, temporary)
