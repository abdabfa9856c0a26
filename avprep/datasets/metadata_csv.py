"""Reads the csv files of public datasets, with or without a header."""

from __future__ import annotations

from pathlib import Path

from avprep.errors import ManifestError
from avprep.manifest.tables import BLANK, csv_rows
from avprep.shared.text import is_comment


def read_rows(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a csv as dicts. A first row that holds one of `columns` is the header, else `columns` name the fields.

    Empty lines, comments (#) and a repeated header are left out. Errors: UserError where the file cannot be read, is
    not UTF-8, has not all of `columns`, or a row has another number of fields.
    """
    numbered = [
        (line, row) for line, row in csv_rows(path, delimiter, strict=False) if any(row) and not is_comment(row[0])
    ]
    has_header = bool(numbered) and bool(set(columns) & {name.strip() for name in numbered[0][1]})
    header = [name.strip() for name in numbered[0][1]] if has_header else list(columns)
    missing = [name for name in columns if name not in header]
    if missing:
        raise ManifestError(f"{path} has no column {missing[0]!r}; it has {', '.join(header)}.")
    rows = []
    for number, row in numbered:
        if len(row) < len(header) or any(row[len(header) :]):
            raise ManifestError(
                f"{path} line {number} has {len(row)} fields, not {len(header)}; quote a field that holds a comma."
            )
        if not has_header or [name.strip(BLANK) for name in row[: len(header)]] != header:
            rows.append(dict(zip(header, row, strict=False)))
    return rows
