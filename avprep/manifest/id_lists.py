"""Reads lists of ids, one a line or a column of a table, and compares them with the ids of a dataset."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from avprep.errors import UserError
from avprep.manifest.tables import BLANK, Wanted, read_table
from avprep.shared import store
from avprep.shared.text import as_text, is_comment, opened

SHOWN = 5
OURS = "# avprep "
"""how a list that this program wrote begins"""
FIRST_FIELD = re.compile(r'(?:"(?:[^"]|"")*"|[^,;\t]*)\s*([,;\t])')


@dataclass(frozen=True)
class IdList:
    """The ids of a list, each once, in its order: the known ones, and those that name nothing."""

    known: list[str]
    unknown: list[str]

    def examples(self) -> str:
        """How many ids name nothing, and the first: "2 ids, such as 'a', 'b'"."""
        some = ", ".join(map(repr, self.unknown[:SHOWN]))
        return f"{len(self.unknown)} {'id' if len(self.unknown) == 1 else 'ids'}, such as {some}"


def read_ids(path: Path, known: Collection[str], columns: tuple[str, ...]) -> IdList:
    """The ids of a list: text or CSV with one in each line, or a JSONL or Parquet table.

    The ids are in the column of the first of the names `columns` that the first line or the table has, else in the
    first field of each line. A whole line that is a known id is that id, whatever commas, quotes or '#' it has. A
    byte order mark, quotes, line ends, empty lines and comments (#) are ignored. Errors: UserError where
    the file cannot be read as UTF-8, or has no ids.
    """
    is_table = path.suffix.lower() in (".jsonl", ".parquet")
    ids = dict.fromkeys(_of_table(path, columns) if is_table else _of_text(path, known, columns))
    if not ids:
        raise UserError(f"{path} names no id; write one a line.")
    return IdList([name for name in ids if name in known], [name for name in ids if name not in known])


def _of_table(path: Path, columns: tuple[str, ...]) -> Iterator[str]:
    for where, row in read_table(path, Wanted(columns, (columns,), "rename the column of the ids")):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            name = next(name for name in columns if name in row)
            yield as_text(row[name], name)
        except (ValueError, StopIteration) as error:
            raise UserError(f"{path}, {where}: {error or 'no id'}.") from None


def _of_text(path: Path, known: Collection[str], columns: tuple[str, ...]) -> Iterator[str]:
    header: list[str] = []
    position, begun = 0, False
    with opened(path) as text:
        for line in (line.strip().strip(BLANK) for line in text):
            cells = [] if is_comment(line) else _cells(line)
            if line in known:
                yield line
            elif not begun and (named := [name for name in columns if name in cells]):
                header, position = cells, cells.index(named[0])
            elif any(cells) and cells != header:
                yield cells[position] if position < len(cells) and cells[position] else line
            begun = begun or any(cells)


def _cells(line: str) -> list[str]:
    """The fields of a line, split at the character that follows the first one."""
    first = FIRST_FIELD.match(line)
    try:
        return [cell.strip() for row in csv.reader([line], delimiter=first[1] if first else ",") for cell in row]
    except csv.Error:
        return [line]


def write_ids(path: Path, ids: Iterable[str], comment: str) -> None:
    """Write a list that `read_ids` reads: one id in each line, after a line on how it was made. Atomic."""
    lines = (f"{line}\n".encode() for line in (f"# {' '.join(comment.split())}", *ids))
    store.write_lines(path, lines)


def is_our_list(path: Path) -> bool:
    """Whether `write_ids` wrote a file."""
    try:
        with open(path, "rb") as file:
            return file.read(len(OURS)) == OURS.encode()
    except OSError:
        return False
