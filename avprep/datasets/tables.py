"""Rows of a csv with or without a header."""

from __future__ import annotations

import csv
from pathlib import Path

from avprep.errors import ManifestError


def read_rows(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a csv as dicts. A first row that holds one of `columns` is the header, else `columns` name the fields.

    Errors: ManifestError where the file is not there, or lacks one of `columns`.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as text:
            lines = [row for row in csv.reader(text, delimiter=delimiter) if row and not row[0].startswith("#")]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} is not readable as csv in UTF-8 ({error}).") from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}).") from None
    header = tuple(lines.pop(0)) if lines and set(columns) & set(lines[0]) else columns
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise ManifestError(f"{path} has no column {lacking[0]!r}; it has {', '.join(header)}.")
    for number, row in enumerate(lines, start=1):
        if len(row) < len(header):
            raise ManifestError(f"{path} row {number} has {len(row)} fields, not {len(header)}.")
    return [dict(zip(header, row, strict=False)) for row in lines]
