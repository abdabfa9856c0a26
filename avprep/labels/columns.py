"""Label columns beside the index, no shard rewritten: labels/NAME.parquet with clip_id, label, class_name and more.

Dataset.labels(NAME) reads one. Here they are written, from the user's own table for one; noise.py makes labels wrong,
pseudo_label.py makes them with a network, multi_label.py writes those of several labels a clip. A column carries how
it was made, so that the same command finds its work done and another one does not overwrite it unasked.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep import schema
from avprep.dataset import Dataset, LabelColumn
from avprep.dataset.history import came, sentence_of
from avprep.errors import UserError
from avprep.manifest.tables import Wanted, read_table
from avprep.shared import __version__, configs, store
from avprep.shared.errors import listed
from avprep.shared.text import as_text

NONE = -1
OF_THE_CLIPS = {"index_sha256", "labels_sha256", "avprep"}
"""what differs in the origin of a column that the same command makes again once the dataset has grown"""

Value = TypeVar("Value")


def check_table(dataset: Dataset, table: Path, name: str) -> None:
    """Raise UserError where a table to make the column `name` of is the file of that column."""
    path = path_of(dataset, name)
    if path.exists() and table.exists() and os.path.samefile(path, table):
        raise UserError(f"{table} is the column {name!r} itself; give another --name, or the table it was made of.")


def claim_column(dataset: Dataset, name: str, origin: dict[str, Any], replace: bool) -> dict[str, Any] | None:
    """The full origin of the column `name` about to be made, or None where the column of this origin is there.

    The origin gains the index's digest and our version. Errors: UserError where `name` is no name for a column, or
    belongs to one of another origin, unless `replace`.
    """
    if name == "label" or not schema.LABEL_NAME_PATTERN.fullmatch(name):
        raise UserError(f"{name!r} cannot name a label column; take letters, digits, '_', '-', '.', and not 'label'.")
    whole = {**origin, "index_sha256": dataset.info["index_sha256"], "avprep": __version__}
    path = dataset.local_folder / schema.labels_path(name)
    if replace or not path.exists():
        return whole
    try:
        old = json.loads((pq.read_schema(path).metadata or {}).get(schema.LABEL_ORIGIN_KEY, b"{}"))
    except ValueError as error:
        raise UserError(f"{path} is no label column ({error}); give --replace or another --name.") from None
    changed = configs.differences(old, whole)
    grown = came(dataset.changes_since(old.get("index_sha256"), "index_sha256_before"))
    if grown and all(old.get(key) == whole.get(key) for key in (old.keys() | whole.keys()) - OF_THE_CLIPS):
        raise UserError(
            f"{path} was made before {sentence_of(grown)}, which have no label in it; --replace makes it again for all "
            "clips."
        )
    if changed:
        lines = "\n  ".join(changed)
        raise UserError(f"{path} was made otherwise; give --replace or another --name. Differences:\n  {lines}")
    return None


def write_labels(dataset: Dataset, name: str, column: LabelColumn, origin: dict[str, Any], **extra: np.ndarray) -> Path:
    """The path of the column, written atomically: one row a clip of the index, in its order.

    `extra` are further columns over the same rows; nulls where a clip has no label. Errors: UserError where a number of
    theirs is not finite.
    """
    none = column.values == NONE
    for key, values in extra.items():
        wrong = np.flatnonzero(~none & ~np.isfinite(values))
        if len(wrong):
            raise UserError(f"Column {name!r} is not written: {key} of {dataset.clip_ids[wrong[0]]!r} is not finite.")
    names = np.array([*column.class_names, ""], dtype=object)[column.values]
    columns = {
        "clip_id": pa.array(dataset.clip_ids, pa.string()),
        "label": pa.array(column.values, pa.int32()),
        "class_name": pa.array(names, pa.string(), mask=none).dictionary_encode(),
        **{key: pa.array(values, mask=none) for key, values in extra.items()},
    }
    metadata = {
        schema.LABEL_NAMES_KEY: store.json_text(column.class_names),
        schema.LABEL_ORIGIN_KEY: store.json_text(origin, sort_keys=True),
    }
    path = dataset.local_folder / schema.labels_path(name)
    with store.atomic_path(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary)
    return path


def path_of(dataset: Dataset, name: str) -> Path:
    """Where the label column `name` is stored."""
    return dataset.local_folder / schema.labels_path(name)


def add_labels(dataset: Dataset, path: Path, name: str, *, column: str = "label", replace: bool = False) -> int:
    """Write the column `name` from a user's table; returns how many rows were of clips that failed or were excluded.

    Errors: UserError as labels_of_table, and where another column of this name is there.
    """
    check_table(dataset, path, name)
    labels = labels_of_table(dataset, path, column)
    origin = claim_column(
        dataset, name, {"command": "add-labels", "file_sha256": store.sha256(path), "column": column}, replace
    )
    if origin is not None:
        write_labels(dataset, name, labels.column, origin)
    return labels.unused


@dataclass(frozen=True)
class UserLabels:
    """A user's column, and how many rows named clips of the manifest that failed or were excluded."""

    column: LabelColumn
    unused: int


def labels_of_table(dataset: Dataset, path: Path, column: str = "label") -> UserLabels:
    """The labels of a CSV, JSONL or Parquet table with clip_id and `column`, for the rows of the index.

    Labels are strings or whole numbers; the class names are the different ones, in order (by value where all are
    whole numbers). A clip without a row, with an empty label or with -1 has none. Errors: UserError with all clip ids
    that are not in the manifest or there twice, and labels of another kind, together.
    """
    by_clip = values_of_table(dataset, path, column, class_name)
    own = [by_clip.get(clip_id) for clip_id in dataset.clip_ids]
    names = sorted({name for name in own if name is not None})
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        names.sort(key=int)
    number_of = {name: number for number, name in enumerate(names)}
    values = np.array([NONE if name is None else number_of[name] for name in own], np.int32)
    return UserLabels(LabelColumn(values, names), len(by_clip.keys() - set(dataset.clip_ids)))


def values_of_table(
    dataset: Dataset,
    path: Path,
    column: str,
    read: Callable[[Any], Value],
    joined: Callable[[Value, Value], Value] | None = None,
) -> dict[str, Value]:
    """What `read` makes of `column` of a CSV, JSONL or Parquet table, by clip_id.

    Two rows of a clip are an error, unless `joined` makes one value of theirs. Errors: UserError with all clip ids that
    are not in the manifest or there twice, and values of which `read` makes a ValueError, together.
    """
    known = set(dataset.plan_columns("clip_id").column(0).to_pylist())
    wanted = Wanted(("clip_id", column), (("clip_id",), (column,)), "rename one, or give --column")
    values: dict[str, Value] = {}
    problems = []
    for where, row in read_table(path, wanted):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            missing = [name for name in wanted.columns if name not in row]
            if missing:
                raise ValueError(f"no {missing[0]}")
            clip_id, new = as_text(row["clip_id"], "clip_id"), read(row[column])
            if clip_id not in known:
                raise ValueError(f"the dataset has no clip {clip_id!r}")
            if clip_id in values and joined is None:
                raise ValueError(f"clip {clip_id!r} is there twice")
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        values[clip_id] = joined(values[clip_id], new) if joined and clip_id in values else new
    if problems:
        raise UserError(f"{path} cannot be used:{listed(problems)}")
    if not values:
        raise UserError(f"{path} has no rows.")
    return values


def is_nothing(value: Any) -> bool:
    """Whether a table's value is null, or the NaN that pandas puts in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def class_name(value: Any) -> str | None:
    """The class name of a table's value: None for none. Errors: ValueError."""
    if is_nothing(value) or value in ("", -1, "-1"):
        return None
    return as_text(value, "label").strip() or None
