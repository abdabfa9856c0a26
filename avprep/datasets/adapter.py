"""What an adapter of a public dataset is: its options, its rows, and what help, messages and pages print of it.

An adapter is a file of this folder with an `ADAPTER`, and its line in registry.py. It reads the dataset's metadata and
yields rows; files, repeats, splits and the report are the same for all of them (manifest_of.py). Standard library only,
as in the adapters themselves: `--help` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avprep.errors import ManifestError

if TYPE_CHECKING:
    from avprep.manifest.clips import Clip

Rows = Callable[..., Iterator["Row"]]
Table = Callable[[Path, tuple[str, ...]], Sequence[Mapping[str, str]]]
Lists = dict[str, dict[str, list[str]]]
"""class names by column and clip id"""


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of the dataset's command, and a keyword of `manifest_of_dataset`."""

    flag: str
    """such as `--test-fold`; the keyword is `test_fold`"""
    help: str
    kind: str = "file"
    """`file`, `choice`, `number` (1 or more) or `flag`"""
    choices: tuple[str, ...] = ()
    default: str | None = None
    """of a file: the name of a list of the package"""
    required: bool = False
    many: bool = False
    """whether it may be repeated; the value is a tuple"""

    @property
    def name(self) -> str:
        """The keyword."""
        return self.flag.removeprefix("--").replace("-", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clip of the dataset's metadata."""

    clip_id: str
    label: str
    """'' where the metadata has none; such a clip is reported and left out"""
    split: str
    files: Sequence[str | None]
    """paths below the root, one or a picture and a sound; None for one that is not there"""
    labels: Sequence[str] = ()
    """all labels, where a clip may have several"""
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str = ""
    """what must not be in two splits; '': the file"""
    cluster: str = ""
    """what varies together; '': the group"""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Label columns that a table of the dataset makes for clips that are built: `avprep add-labels --of`."""

    names: tuple[str, ...]
    read: Callable[[Table, Path], Lists]
    """(function that reads a csv with these columns, path) -> the columns"""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A public dataset."""

    name: str
    """of the command"""
    title: str
    """the dataset in a few words"""
    paper: str
    layout: str
    """the files below --root, as the dataset ships them"""
    labels: str
    splits: str
    licence: str
    example: str
    """options that show its use"""
    rows: Rows
    """(source, **options) -> rows"""
    options: tuple[Option, ...] = ()
    group: str = "file"
    """what the group of a clip is, for the help of shares"""
    note: str = ""
    """more for the help of the command"""
    choose: Callable[..., list[Clip]] | None = None
    """(clips, seed, **options) -> those to keep, of the clips in their splits"""
    columns: Columns | None = None


def seconds_of(row: Mapping[str, str], column: str, path: object) -> float:
    """A time of a row. Errors: ManifestError where it is no number of 0 or more."""
    try:
        value = float(row[column])
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ManifestError(f"{path}: {column} {row[column]!r} is not a time in seconds.")
    return value
