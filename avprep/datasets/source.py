"""What an adapter reads: the tables of a dataset and the files below its root; which of these the metadata names."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

from avprep.datasets.folder import AUDIO_SUFFIXES, is_media
from avprep.datasets.label_names import read_label_names
from avprep.datasets.media_folder import MediaFolder
from avprep.datasets.metadata_csv import iter_rows
from avprep.datasets.unnamed import unnamed
from avprep.errors import ManifestError
from avprep.manifest.checks import Report
from avprep.manifest.id_lists import IdList, read_ids
from avprep.shared.text import opened


class Source:
    """A dataset's metadata and files; `layout` describes them in messages."""

    def __init__(self, media: MediaFolder, layout: str, report: Report) -> None:
        self.report = report
        self._media, self._layout = media, layout.replace("`", "")
        self._named: set[str] = set()
        self._asked: set[str] = set()

    def table(
        self, path: Path | str, columns: tuple[str, ...], delimiter: str = ",", *, spaced: bool = False
    ) -> Iterator[dict[str, str]]:
        """Rows of a csv (metadata_csv.iter_rows), which is below the root where its path is text. Errors: UserError."""
        if isinstance(path, Path):
            yield from iter_rows(path, columns, delimiter, spaced)
            return
        if not self.has(path):
            raise ManifestError(f"{self._media} has no {path}; --root is the folder with {self._layout}.")
        with self._media.near(path) as near:
            yield from iter_rows(near, columns, delimiter, spaced)

    def first_line(self, path: Path) -> str:
        """The first line of a text file. Errors: UserError."""
        with opened(path) as text:
            return text.readline()

    def has(self, path: str) -> bool:
        """Whether there is such a file below the root."""
        return self._media.holds(path)

    def ids(self, path: Path, known: Collection[str], columns: tuple[str, ...]) -> IdList:
        """A list of ids or names (id_lists.read_ids). Errors: UserError."""
        return read_ids(path, known, columns)

    def label_names(self, path: Path) -> dict[str, str]:
        """Class names by id (label_names.read_label_names). Errors: ManifestError."""
        return read_label_names(path)

    def at(self, path: str) -> str | None:
        """The path, if there is such a file below the root; either way the metadata names it."""
        self._named.add(path)
        return path if self.has(path) else None

    def find(self, *stems: str) -> str | None:
        """The media file at any depth whose name without suffix is the first of `stems` that there is.

        A file with pictures comes before one of sound, then the first in sorted order. The metadata names all `stems`.
        """
        there = [stem for stem in stems if stem in self._by_stem]
        self._asked.update(there)
        return self._by_stem[there[0]] if there else None

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for name in filter(is_media, self._media.files()):
            stem = _stem(name)
            if stem not in names or (is_sound(names[stem]) and not is_sound(name)):
                names[stem] = name
        return names

    def unnamed(self) -> list[str]:
        """Media files below the root that the metadata does not name."""
        rest = unnamed(self._media, self._named)
        return [name for name in rest if _stem(name) not in self._asked] if self._asked else rest


def is_sound(name: str) -> bool:
    """Whether a file has the suffix of a sound."""
    return posixpath.splitext(name)[1].lower() in AUDIO_SUFFIXES


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]
