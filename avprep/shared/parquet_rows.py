"""Media in the rows of Parquet files, here or at a URL: columns of bytes, or of bytes and path as `datasets` has them.

A member is COLUMN/ROW with any suffix; rows count from 0. The least that can be read is one column of a row group;
those that were read last are kept.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep.shared import archives
from avprep.shared.archives import Archive, MemberError
from avprep.shared.errors import UserError, first_line
from avprep.shared.http_errors import GoneError

KEPT_BYTES = 256 << 20
"""of columns that are kept; one that is larger is read a few rows at a time, and not kept"""
KEPT_FOOTERS = 1024
BATCH_ROWS = 4

_lock = threading.Lock()
_footers: OrderedDict[tuple[str, str], Footer] = OrderedDict()
_columns: OrderedDict[tuple[tuple[str, str], str, int], pa.ChunkedArray] = OrderedDict()


class Media(NamedTuple):
    """Where a column has its bytes and their paths, as dotted names; '' where there are no paths."""

    data: str
    path: str


class Footer(NamedTuple):
    """What a Parquet file records of itself."""

    metadata: pq.FileMetaData
    schema: pa.Schema
    ends: list[int]
    """rows up to the end of each row group"""
    media: dict[str, Media]
    """columns that may have media, by name"""


def footer(archive: Archive) -> Footer:
    """The footer of a file. Errors: as archives.members."""
    with archives.reported():
        key = archives.key_of(archive)
        with _lock:
            if key in _footers:
                return _footers[key]
        try:
            with archives.opened(archive) as file, _damage():
                known = _described(pq.read_metadata(file))
        except MemberError as error:
            raise UserError(
                f"{archive} is no Parquet file, cut off or damaged ({error.detail}); get it again, or take its clips "
                "out of the manifest."
            ) from None
        with _lock:
            _footers[key] = known
            while len(_footers) > KEPT_FOOTERS:
                _footers.popitem(last=False)
        return known


def _described(metadata: pq.FileMetaData) -> Footer:
    schema = metadata.schema.to_arrow_schema()
    media = {}
    for field in schema:
        inner = {one.name: one.type for one in field.type} if pa.types.is_struct(field.type) else {}
        if _is_binary(field.type):
            media[field.name] = Media(field.name, "")
        elif _is_binary(inner.get("bytes", pa.null())):
            media[field.name] = Media(f"{field.name}.bytes", f"{field.name}.path" if "path" in inner else "")
    rows = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return Footer(metadata, schema, list(itertools.accumulate(rows)), media)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def values(archive: Archive, names: Sequence[str]) -> Iterator[list[list[Any]]]:
    """The values of some columns, by their dotted names, of one row group after the other.

    Errors: MemberError damaged, io; UserError.
    """
    known = footer(archive)
    for group in range(len(known.ends)):
        with archives.reported(), archives.opened(archive) as file, _damage():
            table = pq.ParquetFile(file, metadata=known.metadata).read_row_group(group, list(names), use_threads=False)
            columns = [_leaf(table, name).to_pylist() for name in names]
        yield columns


def has(archive: Archive, member: str) -> bool:
    """Whether a file has the row. Errors: as archives.members."""
    try:
        return bool(_where(footer(archive), member))
    except MemberError as error:
        if error.reason == "missing":
            return False
        raise


def data_of(archive: Archive, member: str) -> memoryview:
    """The bytes of a member. Errors: MemberError missing, io, damaged; UserError of a damaged file or of a server."""
    known = footer(archive)
    name, group, position = _where(known, member)
    with archives.reported():
        key = (archives.key_of(archive), name, group)
        with _lock:
            column = _columns.get(key)
        if column is None:
            with archives.opened(archive) as file, _damage():
                if _unpacked_bytes(known.metadata, name, group) > KEPT_BYTES:
                    return _bytes_at(*_few_rows(pq.ParquetFile(file, metadata=known.metadata), name, group, position))
                table = pq.ParquetFile(file, metadata=known.metadata).read_row_group(group, [name], use_threads=False)
                column = _leaf(table, name)
        with _lock:
            _columns[key] = column
            _columns.move_to_end(key)
            while sum(one.nbytes for one in _columns.values()) > KEPT_BYTES:
                _columns.popitem(last=False)
    return _bytes_at(column, position)


def _where(known: Footer, member: str) -> tuple[str, int, int]:
    """(dotted name of the column of bytes, row group, row in it) of a member. Errors: MemberError missing."""
    column, _, name = member.rpartition("/")
    number = name.partition(".")[0]
    row = int(number) if number.isascii() and number.isdecimal() else -1
    if column not in known.media or not 0 <= row < known.metadata.num_rows:
        raise MemberError("missing", "the archive has no such member")
    group = bisect.bisect_right(known.ends, row)
    return known.media[column].data, group, row - (known.ends[group - 1] if group else 0)


def _few_rows(file: pq.ParquetFile, name: str, group: int, position: int) -> tuple[pa.ChunkedArray, int]:
    """(some rows of a column of a row group, where in them the row at `position` is)."""
    begin = 0
    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[name], use_threads=False):
        if position < begin + len(batch):
            return _leaf(pa.Table.from_batches([batch]), name), position - begin
        begin += len(batch)
    raise MemberError("damaged", "the row group ends before the row")


def _leaf(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column by its dotted name."""
    if name in table.column_names:
        return table.column(name)
    column, _, field = name.rpartition(".")
    return pc.struct_field(table.column(column), field)


def _bytes_at(column: pa.ChunkedArray, position: int) -> memoryview:
    value = column[position]
    if not value.is_valid:
        raise MemberError("missing", "the row has no bytes")
    return memoryview(value.as_buffer())


def _unpacked_bytes(metadata: pq.FileMetaData, name: str, group: int) -> int:
    row_group = metadata.row_group(group)
    columns = map(row_group.column, range(row_group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == name)


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Of a block in which pyarrow reads pages: what it cannot read is damaged. Errors: MemberError."""
    try:
        yield
    except GoneError:
        raise
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise MemberError("damaged", first_line(error)) from None
