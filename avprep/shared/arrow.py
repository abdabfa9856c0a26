"""Arrow columns that grow value by value and then are taken as they lie, with no second copy of them.

pa.array() would do for pieces of a column, but joining them takes twice the memory, and it imports pandas where that is
installed: 45 MB that nothing here needs.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from avprep.shared.errors import UserError

PIECE_ROWS = 8192
"""rows of which there may be Python objects at a time"""
MOST_BYTES = 2**31 - 1  # of a column of text: its offsets have 32 bits
CODES = {pa.int32(): "i", pa.int64(): "q", pa.float64(): "d"}


class Column(Protocol):
    """Values of one type."""

    def extend(self, values: Iterable[Any]) -> None:
        """Append values. Errors: AttributeError, TypeError, OverflowError where one is of another type."""

    def array(self) -> pa.Array:
        """All values; the column can grow no more."""


def column_of(kind: pa.DataType) -> Column:
    """An empty column of text, a dictionary of text, int32, int64, or float64 with None for null."""
    if kind == pa.string():
        return _Texts()
    return _Numbers(kind) if kind in CODES else _Choices()


def table_of(columns: dict[str, Column], schema: pa.Schema) -> pa.Table:
    """The table of all columns."""
    return pa.table([columns[name].array() for name in schema.names], schema=schema)


def numbers_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The values [N] of a column of numbers without nulls; `to_numpy` would import pandas, 0.2 s of each command."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole)


def integers(values: np.ndarray) -> pa.Array:
    """int64 [N]: the whole numbers `values` [N]; `pa.array` would import pandas."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values, np.int64))])


class _Texts:
    def __init__(self) -> None:
        self._data, self._ends = bytearray(), array("i", [0])

    def extend(self, values: Iterable[str]) -> None:
        for value in values:
            self._data += value.encode()
            if len(self._data) > MOST_BYTES:
                raise UserError("One column of the manifest holds more than 2 GiB of text; split the manifest.")
            self._ends.append(len(self._data))

    def array(self) -> pa.Array:
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._data)]
        return pa.Array.from_buffers(pa.string(), len(self._ends) - 1, buffers)


class _Numbers:
    def __init__(self, kind: pa.DataType) -> None:
        self._kind, self._values = kind, array(CODES[kind])

    def extend(self, values: Iterable[float | None]) -> None:
        if self._kind == pa.float64():
            values = (math.nan if value is None else value for value in values)
        self._values.extend(values)  # type: ignore[arg-type]

    def array(self) -> pa.Array:
        given = ~np.isnan(np.frombuffer(self._values, self._values.typecode))
        bits = None if given.all() else pa.py_buffer(np.packbits(given, bitorder="little"))
        return pa.Array.from_buffers(self._kind, len(self._values), [bits, pa.py_buffer(self._values)])


class _Choices:
    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._codes = _Numbers(pa.int32())

    def extend(self, values: Iterable[str]) -> None:
        self._codes.extend(self._positions.setdefault(value, len(self._positions)) for value in values)

    def array(self) -> pa.Array:
        names = _Texts()
        names.extend(self._positions)
        return pa.DictionaryArray.from_arrays(self._codes.array(), names.array())
