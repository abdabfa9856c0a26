"""Tables as people have them: CSV, JSONL or Parquet to rows of named columns, every flaw told with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from avprep.errors import ManifestError

KINDS = ("csv", "jsonl", "parquet")
MOST_FIELD_CHARACTERS = 131_072
READ_ROWS = 8192
READ_BYTES = 1 << 17  # of a Parquet column at once; else a row group's are read whole

Row = tuple[str, "dict[str, Any] | str"]
"""where the row stands ("line 7"), and its values by column, or what is wrong with it"""


def kind_of(path: Path) -> str:
    """The format that a table's suffix names. Errors: ManifestError."""
    kind = path.suffix.lower().lstrip(".")
    if kind not in KINDS:
        raise ManifestError(f"{path}: a manifest's name ends in .csv, .jsonl or .parquet.")
    return kind


def read_table(path: Path, wanted: tuple[str, ...], renamed: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Rows of a table, its `wanted` columns alone; `renamed` maps the table's own names to wanted ones.

    Errors: ManifestError where the file is not there, not UTF-8, not of its format, names a column twice or lacks one
    that is to be renamed. A row with a flaw of its own is given as a sentence in place of its values.
    """
    kind = kind_of(path)
    if not path.is_file():
        raise ManifestError(f"{path} does not exist; 'avprep manifest' writes one.")
    names = _Names(path, wanted, dict(renamed or {}))
    try:
        yield from {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[kind](path, names)
    except UnicodeDecodeError:
        raise ManifestError(
            f"{path} is not UTF-8; convert it, such as with: iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path} is not readable as {kind}: {error}.") from None


class _Names:
    """From a table's column names to the wanted ones; checks them as it goes."""

    def __init__(self, path: Path, wanted: tuple[str, ...], renamed: dict[str, str]) -> None:
        self.path, self.wanted, self.renamed = path, wanted, renamed
        unknown = [new for new in renamed.values() if new not in wanted]
        if unknown:
            raise ManifestError(f"--rename: {unknown[0]!r} is no column of a manifest; those are {', '.join(wanted)}.")

    def places(self, header: list[str]) -> list[tuple[int, str]]:
        """(place in the header, wanted name) of each column that is used."""
        lacking = [old for old in self.renamed if old not in header]
        if lacking:
            raise ManifestError(f"{self.path} has no column {lacking[0]!r} to rename; it has {', '.join(header)}.")
        found = [(place, self.renamed.get(name, name)) for place, name in enumerate(header)]
        found = [(place, name) for place, name in found if name in self.wanted]
        used = [name for _, name in found]
        twice = [name for name in self.wanted if used.count(name) > 1]
        if twice:
            raise ManifestError(f"{self.path} has the column {twice[0]!r} twice; keep one of them.")
        if "label" not in used or not {"video_path", "audio_path"} & set(used):
            lacks = "label" if "label" not in used else "video_path or audio_path"
            hint = "separate its columns by commas" if len(header) == 1 else "rename one, or give --rename old=new"
            raise ManifestError(f"{self.path} has no column {lacks}; it has {', '.join(header)}: {hint}.")
        return found


def _csv(path: Path, names: _Names) -> Iterator[Row]:
    with open(path, encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, strict=True)
        try:
            header = next((row for row in rows if row), [])
            if not header:
                return
            header = [name.strip() for name in header]
            places = names.places(header)
            begin = rows.line_num + 1
            for row in rows:
                where, begin = f"line {begin}", rows.line_num + 1
                if len(row) == len(header):
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
    with open(path, encoding="utf-8-sig") as text:
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
            yield where, {name: pairs[place][1] for place, name in known[keys]}
    if seen:
        names.places(list(seen))


class _Pairs(list[Any]):
    """The (key, value) pairs of a JSON object, repeated keys among them."""


def _of_object(keys: tuple[str, ...], names: _Names) -> list[tuple[int, str]]:
    """Places of the wanted names in one object, which may lack some."""
    renamed = [names.renamed.get(key, key) for key in keys]
    found = [(place, name) for place, name in enumerate(renamed) if name in names.wanted]
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
    except pa.ArrowException as error:
        raise ManifestError(f"{path} is not readable as parquet: {str(error).splitlines()[0]}") from None


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.string())
    return column.to_pylist()


def as_text(value: Any, name: str) -> str:
    """A field as text, '' where it is null or NaN. Errors: ValueError where it is no text and no number."""
    if isinstance(value, str):
        if not value.isascii():
            _check_unicode(value, name)
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError(f"{name} is neither text nor a number")
    return str(value)


def _check_unicode(value: str, name: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} {value!a} holds half a surrogate pair, which is no character") from None
