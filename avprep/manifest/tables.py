"""Reads the tables of users: CSV, JSONL or Parquet as rows of named columns, with the line of every flaw."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.errors import ManifestError
from avprep.shared.errors import first_line
from avprep.shared.text import is_comment, opened

KINDS = ("csv", "jsonl", "parquet")
MOST_FIELD_CHARACTERS = 131_072
READ_ROWS = 8192
READ_BYTES = 1 << 17  # of a Parquet column at once; else a row group's are read whole
BLANK = " \t\ufeff"  # joined files have a byte order mark inside
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}

Row = tuple[str, "dict[str, Any] | str"]
"""where the row is ("line 7"), and its values by column, or what is wrong with it"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """Columns to read, the groups of which one column at least must be there, and what to do where none is."""

    columns: tuple[str, ...]
    needed: tuple[tuple[str, ...], ...]
    advice: str


def kind_of(path: Path) -> str:
    """The format that a table's suffix names. Errors: ManifestError."""
    kind = path.suffix.lower().lstrip(".")
    if kind not in KINDS:
        raise ManifestError(f"{path}: the name of a table ends in .csv, .jsonl or .parquet.")
    return kind


def read_table(
    path: Path,
    wanted: Wanted,
    renamed: Mapping[str, str] | None = None,
    header: Sequence[str] = (),
    fields: Sequence[str] = (),
) -> Iterator[Row]:
    """Rows of a table, its `wanted` columns alone; `renamed` maps the table's own names to wanted ones.

    With `header`, a CSV file has none of its own: these name its columns, lines that begin with # are comments, and a
    space after a comma is no part of a field. The table's own columns `fields` come under their names in braces, too.
    A header that comes again is left out with a warning. Errors: UserError where the file is not there, not UTF-8, not
    of its format, names a column twice, or has no column that is needed or to be renamed. A row with a flaw of its
    own comes as a sentence in place of its values.
    """
    kind = kind_of(path)
    if not path.is_file():
        raise ManifestError(f"{path} does not exist.")
    names = _Names(path, wanted, dict(renamed or {}), fields)
    if header and kind != "csv":
        raise ManifestError(f"{path} has names of its columns; leave --columns out, or give --rename.")
    yield from (
        _csv_without_header(path, names, list(header))
        if header
        else {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[kind](path, names)
    )


class _Names:
    """From a table's column names to the wanted ones; checks them as it goes."""

    def __init__(self, path: Path, wanted: Wanted, renamed: dict[str, str], fields: Sequence[str] = ()) -> None:
        self.path, self.wanted, self.renamed, self.fields = path, wanted, renamed, fields
        unknown = [new for new in renamed.values() if new not in wanted.columns]
        if unknown:
            columns = ", ".join(wanted.columns)
            raise ManifestError(f"--rename: {unknown[0]!r} is no column of a manifest; those are {columns}.")

    def positions(self, header: list[str]) -> list[tuple[int, str]]:
        """(position in the header, wanted name) of each column that is used."""
        missing = [old for old in self.renamed if old not in header]
        if missing:
            raise ManifestError(f"{self.path} has no column {missing[0]!r} to rename; it has {', '.join(header)}.")
        absent = [name for name in self.fields if name not in header]
        if absent:
            raise ManifestError(
                f"{self.path} has no column {absent[0]!r} to make a path of; it has {', '.join(header)}."
            )
        columns = self.wanted_positions(header)
        used = [name for _, name in columns]
        twice = [name for name in self.wanted.columns if used.count(name) > 1]
        if twice:
            raise ManifestError(f"{self.path} has the column {twice[0]!r} twice; keep one of them.")
        for group in self.wanted.needed:
            if not set(group) & set(used):
                has = f"{self.path} has no column {' or '.join(group)}; it has {', '.join(header)}"
                raise ManifestError(f"{has}: {_separated(header) or self.wanted.advice}.")
        return columns

    def wanted_positions(self, header: list[str]) -> list[tuple[int, str]]:
        """As `positions`, without a check that all columns are there."""
        renamed = [(position, self.renamed.get(name, name)) for position, name in enumerate(header)]
        fields = [(position, f"{{{name}}}") for position, name in enumerate(header) if name in self.fields]
        return fields + [(position, name) for position, name in renamed if name in self.wanted.columns]


def _separated(header: list[str]) -> str:
    """What to do where a header of one column is one of several, separated by something else than commas."""
    marks = [name for mark, name in DELIMITERS.items() if len(header) == 1 and mark in header[0]]
    return f"separate its columns by commas, not {marks[0]}" if marks else ""


def csv_rows(
    path: Path, delimiter: str = ",", strict: bool = True, spaced: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, fields) of each row of a CSV file; a blank line has no fields.

    Where not `strict`, misplaced quotes are part of a field; `spaced`: a space after a comma is not. Errors: UserError
    where the file cannot be read, is not UTF-8 or not CSV.
    """
    begin = 1
    with opened(path) as text:
        rows = csv.reader(text, delimiter=delimiter, strict=strict, skipinitialspace=spaced)
        try:
            for row in rows:
                yield begin, row
                begin = rows.line_num + 1
        except csv.Error as error:
            long = "field larger" in str(error)
            why = f"a field of more than {MOST_FIELD_CHARACTERS} characters" if long else str(error)
            raise ManifestError(
                f"{path} is not readable as csv from line {begin} on: {why}; is a quote left open?"
            ) from None


def column_names(path: Path) -> list[str]:
    """The header of a CSV file, the keys of the first JSONL object, or the columns of a Parquet file.

    Errors: UserError, ValueError, OSError where the file is not of its format.
    """
    kind = kind_of(path)
    if kind == "parquet":
        import pyarrow.parquet as pq

        return list(pq.read_schema(path).names)
    if kind == "csv":
        return next((row for _, row in csv_rows(path)), [])
    with opened(path) as text:
        first = json.loads(next(text, "{}"))
    return list(first) if isinstance(first, dict) else []


def _csv(path: Path, names: _Names) -> Iterator[Row]:
    rows = csv_rows(path)
    written = next((row for _, row in rows if row), [])
    if not written:
        return
    header = [name.strip() for name in written]
    columns = names.positions(header)
    used = {header[position] for position, _ in columns}
    last = written[columns[-1][0]]  # the first may have a byte order mark
    for line, row in rows:
        where = f"line {line}"
        if last in row and used.issubset(names_again := [cell.strip(BLANK) for cell in row]):
            if names_again != header:
                yield where, f"another header ({', '.join(row)}); give tables of other columns one by one"
            else:
                log.warning("%s: %s repeats the header and was left out", path.name, where)
        elif len(row) == len(header):
            yield where, {name: row[position] for position, name in columns}
        elif row:
            yield where, f"{len(row)} fields, the header has {len(header)} (quote a field that holds a comma)"


def _csv_without_header(path: Path, names: _Names, header: list[str]) -> Iterator[Row]:
    columns = names.positions(header)
    for line, row in csv_rows(path, spaced=True):
        if not row or is_comment(row[0]):
            continue
        if len(row) == len(header):
            yield f"line {line}", {name: row[position] for position, name in columns}
        else:
            yield f"line {line}", f"{len(row)} fields, --columns names {len(header)} (quote a field that holds a comma)"


def _jsonl(path: Path, names: _Names) -> Iterator[Row]:
    known: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    all_keys: dict[str, None] = {}
    with opened(path) as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            where = f"line {number}"
            try:
                pairs = json.loads(line, object_pairs_hook=_Pairs)
            except (ValueError, RecursionError) as error:
                yield where, f"not readable as JSON: {error}"
                continue
            if not isinstance(pairs, _Pairs):
                yield where, "not an object"
                continue
            keys = tuple(key for key, _ in pairs)
            if keys not in known:
                all_keys.update(dict.fromkeys(keys))
                known[keys] = _of_object(keys, names)
            yield where, {name: _plain(pairs[position][1]) for position, name in known[keys]}
    if all_keys:
        names.positions(list(all_keys))


class _Pairs(tuple[Any, ...]):
    """The (key, value) pairs of a JSON object, repeated keys among them."""


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, _Pairs) else value


def _of_object(keys: tuple[str, ...], names: _Names) -> list[tuple[int, str]]:
    """(position, wanted name) of the used keys of one object; some columns may be missing."""
    columns = names.wanted_positions(list(keys))
    if len({name for _, name in columns}) < len(columns):
        names.positions(list(keys))
    return columns


def _parquet(path: Path, names: _Names) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
            header = list(file.schema_arrow.names)
            used = names.positions(header)
            wanted = [header[position] for position, _ in used]
            number = 0
            for batch in file.iter_batches(READ_ROWS, columns=wanted, use_threads=False):
                columns = [_values(batch.column(name)) for name in wanted]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield f"row {number}", {name: value for (_, name), value in zip(used, values, strict=True)}
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(f"{path} is not readable as parquet: {first_line(error)}") from None


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.string())
    return column.to_pylist()
