"""Tables as people have them: CSV, JSONL or Parquet to rows of named columns, every flaw told with its line."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.errors import ManifestError
from avprep.shared.errors import first_line
from avprep.shared.text import opened

KINDS = ("csv", "jsonl", "parquet")
MOST_FIELD_CHARACTERS = 131_072
READ_ROWS = 8192
READ_BYTES = 1 << 17  # of a Parquet column at once; else a row group's are read whole
BLANK = " \t\ufeff"  # a byte order mark stands inside where files were joined
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}

Row = tuple[str, "dict[str, Any] | str"]
"""where the row stands ("line 7"), and its values by column, or what is wrong with it"""

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


def read_table(path: Path, wanted: Wanted, renamed: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Rows of a table, its `wanted` columns alone; `renamed` maps the table's own names to wanted ones.

    A header that comes again is left out with a warning. Errors: UserError where the file is not there, not UTF-8, not
    of its format, names a column twice, lacks a needed one, or one that is to be renamed. A row with a flaw of its own
    is given as a sentence in place of its values.
    """
    kind = kind_of(path)
    if not path.is_file():
        raise ManifestError(f"{path} does not exist.")
    names = _Names(path, wanted, dict(renamed or {}))
    yield from {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[kind](path, names)


class _Names:
    """From a table's column names to the wanted ones; checks them as it goes."""

    def __init__(self, path: Path, wanted: Wanted, renamed: dict[str, str]) -> None:
        self.path, self.wanted, self.renamed = path, wanted, renamed
        unknown = [new for new in renamed.values() if new not in wanted.columns]
        if unknown:
            columns = ", ".join(wanted.columns)
            raise ManifestError(f"--rename: {unknown[0]!r} is no column of a manifest; those are {columns}.")

    def places(self, header: list[str]) -> list[tuple[int, str]]:
        """(place in the header, wanted name) of each column that is used."""
        lacking = [old for old in self.renamed if old not in header]
        if lacking:
            raise ManifestError(f"{self.path} has no column {lacking[0]!r} to rename; it has {', '.join(header)}.")
        found = [(place, self.renamed.get(name, name)) for place, name in enumerate(header)]
        found = [(place, name) for place, name in found if name in self.wanted.columns]
        used = [name for _, name in found]
        twice = [name for name in self.wanted.columns if used.count(name) > 1]
        if twice:
            raise ManifestError(f"{self.path} has the column {twice[0]!r} twice; keep one of them.")
        for group in self.wanted.needed:
            if not set(group) & set(used):
                has = f"{self.path} has no column {' or '.join(group)}; it has {', '.join(header)}"
                raise ManifestError(f"{has}: {_separated(header) or self.wanted.advice}.")
        return found


def _separated(header: list[str]) -> str:
    """What to do where a header of one column is one of several, separated by something else than commas."""
    found = [name for mark, name in DELIMITERS.items() if len(header) == 1 and mark in header[0]]
    return f"separate its columns by commas, not {found[0]}" if found else ""


def _csv(path: Path, names: _Names) -> Iterator[Row]:
    with opened(path) as text:
        rows = csv.reader(text, strict=True)
        try:
            header = next((row for row in rows if row), [])
            if not header:
                return
            written, header = header, [name.strip() for name in header]
            places = names.places(header)
            used = {header[place] for place, _ in places}
            last = written[places[-1][0]]  # the first may have a byte order mark
            begin = rows.line_num + 1
            for row in rows:
                where, begin = f"line {begin}", rows.line_num + 1
                if last in row and used.issubset(names_again := [cell.strip(BLANK) for cell in row]):
                    if names_again != header:
                        yield where, f"another header ({', '.join(row)}); give tables of other columns one by one"
                    else:
                        log.warning("%s: %s repeats the header and was left out", path.name, where)
                elif len(row) == len(header):
                    yield where, {name: row[place] for place, name in places}
                elif row:
                    yield where, f"{len(row)} fields, the header has {len(header)} (quote a field that holds a comma)"
        except csv.Error as error:
            long = "field larger" in str(error)
            why = f"a field of more than {MOST_FIELD_CHARACTERS} characters" if long else str(error)
            raise ManifestError(
                f"{path} is not readable as csv from line {begin if header else 1} on: {why}; is a quote left open?"
            ) from None


def _jsonl(path: Path, names: _Names) -> Iterator[Row]:
    known: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    seen: dict[str, None] = {}
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
                seen.update(dict.fromkeys(keys))
                known[keys] = _of_object(keys, names)
            yield where, {name: _plain(pairs[place][1]) for place, name in known[keys]}
    if seen:
        names.places(list(seen))


class _Pairs(tuple[Any, ...]):
    """The (key, value) pairs of a JSON object, repeated keys among them."""


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, _Pairs) else value


def _of_object(keys: tuple[str, ...], names: _Names) -> list[tuple[int, str]]:
    """Places of the wanted names in one object, which may lack some."""
    renamed = [names.renamed.get(key, key) for key in keys]
    found = [(place, name) for place, name in enumerate(renamed) if name in names.wanted.columns]
    if len({name for _, name in found}) < len(found):
        names.places(list(keys))
    return found


def _parquet(path: Path, names: _Names) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
            header = list(file.schema_arrow.names)
            places = names.places(header)
            wanted = [header[place] for place, _ in places]
            number = 0
            for batch in file.iter_batches(READ_ROWS, columns=wanted, use_threads=False):
                columns = [_values(batch.column(header[place])) for place, _ in places]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield f"row {number}", {name: value for (_, name), value in zip(places, values, strict=True)}
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(f"{path} is not readable as parquet: {first_line(error)}") from None


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.string())
    return column.to_pylist()
