"""Reads the csv files of public datasets, with or without a header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avprep.errors import ManifestError
from avprep.manifest.tables import BLANK, csv_rows
from avprep.shared.text import is_comment


def read_rows(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """All of `iter_rows`."""
    return list(iter_rows(path, columns, delimiter))


def iter_rows(
    path: Path, columns: tuple[str, ...], delimiter: str = ",", spaced: bool = False
) -> Iterator[dict[str, str]]:
    """Rows of a csv as dicts. A first row that holds one of `columns` is the header, else `columns` name the fields.

    Empty lines, comments (#) and a repeated header are left out; `spaced`: so are spaces after the delimiter. Errors:
    UserError where the file cannot be read, is not UTF-8, has not all of `columns`, or a row has another number of
    fields.
    """
    header: list[str] = []
    has_header = False
    for number, row in csv_rows(path, delimiter, strict=False, spaced=spaced):
        if not any(row) or is_comment(row[0]):
            continue
        if not header:
            names = [name.strip() for name in row]
            has_header = bool(set(columns) & set(names))
            header = names if has_header else list(columns)
            missing = [name for name in columns if name not in header]
            if missing:
                raise ManifestError(f"{path} has no column {missing[0]!r}; it has {', '.join(header)}.")
        if len(row) < len(header) or any(row[len(header) :]):
            raise ManifestError(
                f"{path} line {number} has {len(row)} fields, not {len(header)}; quote a field that holds a comma."
            )
        if not has_header or [name.strip(BLANK) for name in row[: len(header)]] != header:
            yield dict(zip(header, row, strict=False))
