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

PROBABILITY_SCHEMA = pa.schema([("clip_id", pa.string()), ("probability", pa.float32())])


@dataclass(frozen=True)
class ListedLabels:
    """Any number of labels a row, in CSR form: those of row i are values[begins[i]:begins[i + 1]], each once.

    begins int64 [rows + 1], values int32; `known` bool [rows]: False where it is not known which labels a clip
    has, which is not the same as that it has none.
    """

    begins: np.ndarray
    values: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class LabelColumn:
    """One label a row: values int32 [rows], -1 where a clip has none; names by value.

    A multi-label column has all labels in `lists`; `values` are then the first of each row.
    """

    values: np.ndarray
    class_names: list[str]
    lists: ListedLabels | None = None

    @property
    def known(self) -> np.ndarray:
        """bool [rows]: whether the column gives the labels of a clip (of a multi-label column, also: none)."""
        return self.values >= 0 if self.lists is None else self.lists.known


def check_single(column: LabelColumn, name: str, what: str) -> None:
    """Raise UserError that `what` needs one label a clip where the column `name` holds lists."""
    if column.lists is not None:
        raise UserError(f"{what} needs one label a clip, and the column {name!r} holds lists of labels; name another.")


def read_labels(folder: Path | RemotePath, name: str, clip_ids: pa.ChunkedArray) -> LabelColumn:
    """The column `name`, of one label or of lists, for the rows of `clip_ids`. Errors: UserError, as Dataset.labels."""
    path = _file_of(folder, name, "one", "lists")
    try:
        return _lists(path, clip_ids) if _kind_of(path) == "lists" else _one(path, clip_ids)
    except UNREADABLE as error:
        raise UserError(f"{path} is no label column ({error}); 'avprep add-labels' writes one.") from None


def _one(path: Path | RemotePath, clip_ids: pa.ChunkedArray) -> LabelColumn:
    """A column of one label a clip. Errors: UNREADABLE."""
    table, metadata = _read(path, schema.LABELS_SCHEMA)
    class_names = texts(json.loads(metadata[schema.LABEL_NAMES_KEY]), "class_names")
    ids = table.column("clip_id").combine_chunks()
    positions = pc.index_in(clip_ids, value_set=ids).combine_chunks()
    labels = np.append(table.column("label").to_numpy(), np.int32(-1))  # the last is for clips not in the file
    values = labels[positions.fill_null(len(ids)).to_numpy()]
    if len(ids.unique()) != len(ids) or values.min(initial=-1) < -1 or values.max(initial=-1) >= len(class_names):
        raise ValueError("a clip is there twice, or a label has no name")
    return LabelColumn(values, class_names)


def _lists(path: Path | RemotePath, clip_ids: pa.ChunkedArray) -> LabelColumn:
    """A multi-label column, without a Python object for each clip; class names are its names, in order.

    Errors: UNREADABLE.
    """
    table, _ = _read(path, schema.LABEL_LISTS_SCHEMA)
    ids, lists = (table.column(name).combine_chunks() for name in ("clip_id", "labels"))
    flat = lists.flatten()
    if len(ids.unique()) != len(ids) or flat.null_count:
        raise ValueError("a clip is there twice, or a label has no name")
    coded = flat.dictionary_encode()
    unsorted = coded.dictionary.to_pylist()
    class_names = sorted(unsorted)
    number_of = {label: number for number, label in enumerate(class_names)}
    numbers = np.array([number_of[label] for label in unsorted], np.int32)[coded.indices.to_numpy()]
    ends = np.cumsum(pc.list_value_length(lists).fill_null(0).to_numpy())
    offsets = pa.array(np.append(0, ends).astype(np.int32))
    numbered = pa.ListArray.from_arrays(offsets, pa.array(numbers, pa.int32()), mask=lists.is_null())
    rows = numbered.take(pc.index_in(clip_ids, value_set=ids).combine_chunks())
    begins = np.append(0, np.cumsum(pc.list_value_length(rows).fill_null(0).to_numpy())).astype(np.int64)
    begins, values = _each_once(begins, rows.flatten().to_numpy().astype(np.int32), len(class_names))
    first = np.append(values, np.int32(-1))[np.where(begins[1:] > begins[:-1], begins[:-1], len(values))]
    known = rows.is_valid().to_numpy(zero_copy_only=False)
    return LabelColumn(first, class_names, ListedLabels(begins, values, known))


def _each_once(begins: np.ndarray, values: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The lists without the second of two equal labels of a row."""
    row = np.repeat(np.arange(len(begins) - 1), np.diff(begins))
    _, first = np.unique(row * classes + values, return_index=True)
    if len(first) == len(values):
        return begins, values
    first.sort()
    return np.append(0, np.cumsum(np.bincount(row[first], minlength=len(begins) - 1))), values[first]


def read_probabilities(folder: Path | RemotePath, name: str, clip_ids: pa.ChunkedArray) -> np.ndarray:
    """float32 [rows]: the column's `probability` of each label, for the rows of `clip_ids`; 1 where there is none.

    Errors: UserError where the column has none at all ('avprep pseudo-label' writes some), or one not within 0 to 1.
    """
    path = _file_of(folder, name, "one")
    try:
        table, _ = _read(path, PROBABILITY_SCHEMA)
    except UNREADABLE as error:
        raise UserError(
            f"{path} has no probabilities to weight labels by ({error}); 'avprep pseudo-label' writes some."
        ) from None
    ids = table.column("clip_id").combine_chunks()
    stored = pc.fill_null(table.column("probability"), 1.0).to_numpy().astype(np.float32)
    if not ((stored >= 0) & (stored <= 1)).all():
        raise UserError(f"{path} has a probability that is not within 0 to 1; write the column anew.")
    positions = pc.index_in(clip_ids, value_set=ids).combine_chunks()
    return np.append(stored, np.float32(1))[positions.fill_null(len(ids)).to_numpy()]


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


def _file_of(folder: Path | RemotePath, name: str, *kinds: str) -> Path | RemotePath:
    """The file of a column. Errors: UserError where there is none, with the names of those of these `kinds`."""
    if not schema.LABEL_NAME_PATTERN.fullmatch(name):
        raise UserError(f"{name!a} names no label column; take letters, digits, '_', '-' and '.'.")
    path = names.inside(folder, schema.labels_path(name))
    if path.is_file():
        return path
    files = sorted(path.parent.glob("*.parquet")) if isinstance(path, Path) else []
    others = [file.stem for file in files if _kind_of(file) in (*kinds, "")]
    if "one" in kinds:
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
