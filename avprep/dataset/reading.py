"""Reads the files of a dataset folder, here or behind a URL: tables as arrays, bytes of shards as arrays.

Memory is taken once the file is known to hold what is asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep import schema
from avprep.shared.arrow import numbers_of
from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath

MOST_ROWS_A_BYTE = 8  # of an index: every row has an id of its own, so that no honest one is packed so tightly
UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    OSError,
    RecursionError,
    MemoryError,
    pa.ArrowException,
)


def index_columns(path: Path | RemotePath, columns: tuple[str, ...]) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Columns of an index one after the other: a large one is never in memory beside all others. Errors: UNREADABLE."""
    source = source_of(path)
    size = source.stat().st_size if isinstance(source, Path) else source.size()
    with pq.ParquetFile(source) as file:
        if file.metadata.num_rows > MOST_ROWS_A_BYTE * size:
            raise ValueError(f"{file.metadata.num_rows} rows in {size} bytes")
        for name in columns:
            column = file.read([name]).column(name)
            if column.null_count:
                raise ValueError(f"{name} has rows without a value")
            wanted = schema.INDEX_SCHEMA.field(name).type
            yield name, column if pa.types.is_dictionary(wanted) else column.cast(wanted)


def categories(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """(names, int32 position of each row's name)."""
    encoded = column.dictionary_encode() if not pa.types.is_dictionary(column.type) else column
    encoded = encoded.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    return encoded.dictionary.to_pylist(), numbers_of(encoded.indices)


def repair(path: Path | RemotePath) -> str:
    """What to do about a damaged or missing file of a dataset: the end of a sentence."""
    return "copy it there again" if isinstance(path, RemotePath) else "'avprep verify' prints how to repair it"


def source_of(path: Path | RemotePath) -> Path | pa.BufferReader:
    """What pyarrow reads a table from."""
    return path if isinstance(path, Path) else pa.BufferReader(path.read_bytes())


def read_array(path: Path | RemotePath, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array of a file. Errors: UserError where the file does not hold it, before memory is taken."""
    end = offset + math.prod(shape) * dtype.itemsize
    if isinstance(path, RemotePath):
        try:
            (size,) = path.sizes([path])
        except FileNotFoundError:
            raise UserError(f"{path} does not exist; {repair(path)}.") from None
        if size is None or end <= size:
            array = np.empty(shape, dtype)
            path.read_range(offset, array.reshape(-1).view(np.uint8).data)
            return array
    else:
        try:
            with open(path, "rb", buffering=0) as file:
                if end <= os.fstat(file.fileno()).st_size:
                    array = np.empty(shape, dtype)
                    if os.preadv(file.fileno(), [array.reshape(-1).view(np.uint8).data], offset) == array.nbytes:
                        return array
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {repair(path)}.") from None
    raise UserError(f"{path} is shorter than in its index; {repair(path)}.")
