"""Reads the label columns of a dataset folder: labels/NAME.parquet, one label or a list of labels a clip."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep import schema
from avprep.dataset.reading import UNREADABLE, source_of
from avprep.shared import names
from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath
from avprep.shared.values import texts


@dataclass(frozen=True)
class LabelColumn:
    """One label a row: values int32 [rows], -1 where a clip has none; names by value."""

    values: np.ndarray
    class_names: list[str]


def read_labels(folder: Path | RemotePath, name: str, clip_ids: pa.ChunkedArray) -> LabelColumn:
    """The column `name` of one label a clip, for the rows of `clip_ids`. Errors: UserError, as Dataset.labels."""
    path = _file_of(folder, name, "one")
    try:
        table, metadata = _read(path, schema.LABELS_SCHEMA)
        class_names = texts(json.loads(metadata[schema.LABEL_NAMES_KEY]), "class_names")
        ids = table.column("clip_id").combine_chunks()
        positions = pc.index_in(clip_ids, value_set=ids).combine_chunks()
        labels = np.append(table.column("label").to_numpy(), np.int32(-1))  # the last is for clips not in the file
        values = labels[positions.fill_null(len(ids)).to_numpy()]
        if len(ids.unique()) != len(ids) or values.min(initial=-1) < -1 or values.max(initial=-1) >= len(class_names):
            raise ValueError("a clip is there twice, or a label has no name")
    except UNREADABLE as error:
        if _kind_of(path) == "lists":
            raise UserError(
                f"{path} holds several labels a clip; name a column of one label a clip, as 'avprep add-labels' "
                "usually writes."
            ) from None
        raise UserError(f"{path} is no label column ({error}); 'avprep add-labels' writes one.") from None
    return LabelColumn(values, class_names)


def read_label_lists(folder: Path | RemotePath, name: str, clip_ids: Iterable[str]) -> list[list[str] | None]:
    """The multi-label column `name`, for the rows of `clip_ids`. Errors: UserError, as Dataset.label_lists."""
    path = _file_of(folder, name, "lists")
    try:
        table, _ = _read(path, schema.LABEL_LISTS_SCHEMA)
        ids, lists = (table.column(column).to_pylist() for column in table.column_names)
        labels_of = dict(zip(ids, lists, strict=True))
        if len(labels_of) != len(ids):
            raise ValueError("a clip is there twice")
    except UNREADABLE as error:
        if _kind_of(path) == "one":
            raise UserError(
                f"{path} holds one label a clip; name a multi-label column, as 'avprep add-labels --multi' writes."
            ) from None
        raise UserError(f"{path} is no multi-label column ({error}); 'avprep add-labels --multi' writes one.") from None
    return [labels_of.get(clip_id) for clip_id in clip_ids]


def _file_of(folder: Path | RemotePath, name: str, kind: str) -> Path | RemotePath:
    """The file of a column. Errors: UserError where there is none, with the names of those of this `kind`."""
    if not schema.LABEL_NAME_PATTERN.fullmatch(name):
        raise UserError(f"{name!a} names no label column; take letters, digits, '_', '-' and '.'.")
    path = names.inside(folder, schema.labels_path(name))
    if path.is_file():
        return path
    files = sorted(path.parent.glob("*.parquet")) if isinstance(path, Path) else []
    others = [file.stem for file in files if _kind_of(file) in (kind, "")]
    if kind == "one":
        raise UserError(f"{folder} has no label column {name!r}; it has {', '.join(['label', *others])}.")
    there = f"it has {', '.join(others)}" if others else "'avprep add-labels --multi' writes one"
    raise UserError(f"{folder} has no multi-label column {name!r}; {there}.")


def _read(path: Path | RemotePath, wanted: pa.Schema) -> tuple[pa.Table, dict[bytes, bytes]]:
    """(the columns of `wanted` in a label column's file, the file's metadata). Errors: ValueError, KeyError."""
    with pq.ParquetFile(source_of(path)) as file:
        missing = [name for name in wanted.names if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"it has no column {missing[0]!r}")
        stored = file.read(wanted.names)
    return stored.cast(wanted), stored.schema.metadata or {}


def _kind_of(path: Path | RemotePath) -> str:
    """Whether a column's file holds `one` label a clip or `lists` of them; '' where it is neither."""
    try:
        with pq.ParquetFile(source_of(path)) as file:
            columns = file.schema_arrow.names
    except UNREADABLE:
        return ""
    return "one" if "label" in columns else "lists" if "labels" in columns else ""
