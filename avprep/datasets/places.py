"""Where a dataset's files lie, in a folder of this machine or at a URL: what is there, and how a manifest names it.

Names are paths from that folder, '/' between their parts.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from avprep import fetching
from avprep.errors import ManifestError
from avprep.manifest import written_path
from avprep.shared.mirror import is_url
from avprep.shared.remote import RemotePath


class Folder:
    """A folder of this machine, whose files a manifest in the folder `manifest_folder`, a path or URL, will name."""

    def __init__(self, root: Path, manifest_folder: Path | str) -> None:
        if not root.is_dir():
            raise ManifestError(f"{root} is not a folder.")
        self.root, self._manifest_folder = root, manifest_folder

    def __str__(self) -> str:
        return str(self.root)

    def folders(self, inside: str = "") -> list[str]:
        """Names of the folders directly inside one, sorted, but for hidden ones."""
        with os.scandir(self.root / inside) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        return [posixpath.join(inside, name) for name in found]

    def files(self, inside: str = "") -> Iterator[str]:
        """Every name below that is no folder, sorted folder by folder; linked folders too, each folder once."""
        seen = set()
        for folder, folders, names in os.walk(self.root / inside, followlinks=True):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders.sort()
            start = os.path.relpath(folder, self.root)
            yield from (name if start == "." else f"{start}/{name}" for name in sorted(names))

    def holds(self, name: str) -> bool:
        """Whether there is such a file, and not only a link that leads nowhere."""
        return (self.root / name).is_file()

    def written(self, name: str) -> str:
        """A file as the manifest names it. Errors: ManifestError where that is no UTF-8."""
        if is_url(self._manifest_folder):
            return "/" + written_path(self.root / name, Path("/"))
        return written_path(self.root / name, Path(self._manifest_folder))

    def origin(self, name: str) -> str:
        """As `written`, of the file that a link leads to."""
        path = self.root / name
        return self.written(str(path.resolve()) if path.is_symlink() else name)

    def near(self, name: str) -> AbstractContextManager[Path]:
        """A file to be read."""
        return contextlib.nullcontext(self.root / name)


class Remote:
    """The same of a folder at a URL, whose files are listed once, if need be."""

    def __init__(self, root: str, manifest_folder: Path | str) -> None:
        self._remote = RemotePath(root)
        self.root = str(self._remote)
        here, there = urlsplit(self.root), urlsplit(str(manifest_folder))
        self._path, self._of_web = here.path, here.scheme in ("http", "https")
        self._begin = (there.path or "/") if here[:2] == there[:2] else None

    def __str__(self) -> str:
        return self.root

    @cached_property
    def _names(self) -> frozenset[str]:
        names = frozenset(unquote(name) if self._of_web else name for name in self._remote.below())
        if not names:
            raise ManifestError(f"{self} holds no files.")
        return names

    def folders(self, inside: str = "") -> list[str]:
        """As Folder.folders. Errors: ManifestError where there are no files at all."""
        start = inside + "/" if inside else ""
        rests = (name[len(start) :] for name in self._names if name.startswith(start))
        found = sorted({rest.partition("/")[0] for rest in rests if "/" in rest})
        return [start + name for name in found if not name.startswith(".")]

    def files(self, inside: str = "") -> Iterator[str]:
        """As Folder.files."""
        start = inside + "/" if inside else ""
        yield from sorted((name for name in self._names if name.startswith(start)), key=_folder_by_folder)

    def holds(self, name: str) -> bool:
        """As Folder.holds."""
        return posixpath.normpath(name) in self._names

    def written(self, name: str) -> str:
        """As Folder.written; relative where the manifest lies at the same server, else the file's URL."""
        if self._begin is None:
            return fetching.address_of(self.root, self._linked(name))
        return posixpath.relpath(posixpath.join(self._path or "/", name), self._begin)

    def origin(self, name: str) -> str:
        """As `written`: there are no links."""
        return self.written(name)

    def near(self, name: str) -> AbstractContextManager[Path]:
        """As Folder.near: a copy of the file."""
        return fetching.near(f"{self._remote.url}/{self._linked(name)}")

    def _linked(self, name: str) -> str:
        return quote(name) if self._of_web else name


def _folder_by_folder(name: str) -> tuple[list[str], str]:
    folder, last = posixpath.split(name)
    return folder.split("/"), last


def place_at(root: Path | str, manifest_folder: Path | str) -> Folder | Remote:
    """The folder at a path or URL. Errors: ManifestError where it is no folder; UserError."""
    return Remote(str(root), manifest_folder) if is_url(root) else Folder(Path(root), manifest_folder)


def by_name(place: Folder | Remote) -> dict[str, str]:
    """The last part of each file's name -> the name; the first in sorted order, if one repeats."""
    found: dict[str, str] = {}
    for name in place.files():
        found.setdefault(posixpath.basename(name), name)
    return found
