"""Clips of a manifest, kept by column: about 60 bytes a clip and the text of its id, paths and group.

As objects a clip takes ten times that, and a manifest may hold a million: what goes through all of them goes through
one piece after the other, and what looks for repeats keeps a hash of 8 bytes a clip.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, overload

import numpy as np
import pyarrow as pa

from avprep.shared.arrow import PIECE_ROWS, column_of, table_of

OPTIONAL = ("cluster", "labels")  # written only where a clip has one, so that other manifests keep their bytes
COLUMNS = ("clip_id", "label", "split", "video_path", "audio_path", "start_seconds", "end_seconds", "group", *OPTIONAL)
SEPARATOR = ";"  # between the labels of a clip in `labels`
NUMBERS = frozenset({"start_seconds", "end_seconds"})
REPEATING = frozenset({"label", "split"})

values_of: Callable[[Any], tuple[Any, ...]] = attrgetter(*COLUMNS)


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest; paths as written there, '' where a clip has no such track."""

    clip_id: str
    label: str
    split: str = "train"
    video_path: str = ""
    audio_path: str = ""
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str = ""
    """what must not be in two splits: a speaker, a location, a fold"""
    cluster: str = ""
    """what varies together, such as clips cut from one recording; '': the group is that"""
    labels: str = ""
    """all labels of a clip that may have several, with SEPARATOR between them; '': its label is the only one"""

    @property
    def all_labels(self) -> list[str]:
        """The labels, `label` among them."""
        return self.labels.split(SEPARATOR) if self.labels else [self.label]

    @property
    def source(self) -> str:
        """The path that names the clip in messages."""
        return self.video_path or self.audio_path


class Clips(Sequence[Clip]):
    """The given clips, each made anew when asked for; a slice is a list of them."""

    def __init__(self, clips: Iterable[Clip]) -> None:
        fields = pa.schema([pa.field(name, _type_of(name)) for name in COLUMNS])
        columns = {field.name: column_of(field.type) for field in fields}
        rest = map(values_of, clips)
        while rows := list(itertools.islice(rest, PIECE_ROWS)):
            for column, values in zip(columns.values(), zip(*rows, strict=True), strict=True):
                column.extend(values)
        self._table = table_of(columns, fields)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[Clip]:
        for piece in self._table.to_batches(PIECE_ROWS):
            for values in zip(*(column.to_pylist() for column in piece.columns), strict=True):
                yield Clip(*values)

    @overload
    def __getitem__(self, row: int) -> Clip: ...
    @overload
    def __getitem__(self, row: slice) -> list[Clip]: ...
    def __getitem__(self, row: int | slice) -> Clip | list[Clip]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return Clip(*(column[row].as_py() for column in self._table.columns))

    def column(self, name: str) -> pa.ChunkedArray:
        """A column as it is kept: text, float64 seconds with nulls; label and split as dictionaries of text."""
        return self._table.column(name)

    def values(self, name: str) -> Iterator[Any]:
        """The values of a column, one after the other."""
        for piece in self._table.select([name]).to_batches(PIECE_ROWS):
            yield from piece.column(0).to_pylist()

    def coded(self, name: str) -> tuple[list[str], np.ndarray]:
        """(distinct values of label or split, int32 position of each row's in them)."""
        (column,) = self.column(name).chunks
        codes = np.frombuffer(column.indices.buffers()[1], np.int32)  # to_numpy() would import pandas
        return column.dictionary.to_pylist(), codes

    def table(self) -> pa.Table:
        """All columns, label and split as plain text; without those of OPTIONAL that no clip has."""
        names = columns_of(lambda name: any(self.values(name)))
        plain = (pa.field(name, pa.float64() if name in NUMBERS else pa.string()) for name in names)
        return self._table.select(names).cast(pa.schema(plain))


def columns_of(used: Callable[[str], bool]) -> list[str]:
    """COLUMNS as a manifest has them: those of OPTIONAL only where they are `used`."""
    return [name for name in COLUMNS if name not in OPTIONAL or used(name)]


def digest_values(clip: Clip) -> tuple[Any, ...]:
    """The values of a clip that count in a manifest's digest: without empty ones of OPTIONAL at the end."""
    values = values_of(clip)
    return values if clip.labels else values[:-1] if clip.cluster else values[:-2]


def repeated(hashes: np.ndarray) -> np.ndarray:
    """Values int64, sorted, that are in `hashes` more than once; `hashes` is left sorted."""
    hashes.sort()
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def hashed(keys: Iterable[Hashable]) -> np.ndarray:
    """int64: a hash of each key, of this process alone. Equal keys have equal ones, others almost never."""
    return np.fromiter(map(hash, keys), np.int64)


def _type_of(name: str) -> pa.DataType:
    if name in NUMBERS:
        return pa.float64()
    return pa.dictionary(pa.int32(), pa.string()) if name in REPEATING else pa.string()
