"""The folder of a dataset's files, on this machine or at a URL: which files it has, and how a manifest names them.

Names are paths from that folder, with '/' between their parts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import posixpath
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from avprep.errors import ManifestError
from avprep.manifest.addresses import address_of, server_and_path, wrong_address
from avprep.manifest.read_write import written_path
from avprep.shared import mirror
from avprep.shared.names import leads_out
from avprep.shared.remote import RemotePath
from avprep.shared.urls import WRITABLE, is_url, split_address

FOREIGN = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""folders that systems and tools make; hidden folders count as such too"""

log = logging.getLogger(__name__)


class LocalFolder:
    """A folder of this machine; a manifest in the folder `manifest_folder`, a path or URL, will name its files."""

    def __init__(self, root: Path, manifest_folder: Path | str) -> None:
        self.root, self._manifest_folder = root, manifest_folder
        self._foreign: dict[str, None] = {}

    def __str__(self) -> str:
        return str(self.root)

    @property
    def foreign(self) -> list[str]:
        """Names of the folders of systems and tools that were skipped so far, each once."""
        return sorted(self._foreign)

    def folders(self, inside: str = "") -> list[str]:
        """Names of the folders directly inside one, sorted, without foreign ones. Errors: ManifestError, no folder."""
        self._check()
        with os.scandir(self.root / inside) as entries:
            folders = [entry.name for entry in entries if _leads_to_folder(entry)]
        return [posixpath.join(inside, name) for name in self._own(folders)]

    def _own(self, folders: list[str]) -> list[str]:
        """The folders that are not foreign, sorted; the others are added to `foreign`."""
        self._foreign.update(dict.fromkeys(filter(is_foreign, folders)))
        return sorted(name for name in folders if not is_foreign(name))

    def files(self, inside: str = "") -> Iterator[str]:
        """Names of all files below, folder by folder, sorted; a folder with several links once. Errors: as folders."""
        self._check()
        visited = set()
        for folder, folders, names in os.walk(self.root / inside, followlinks=True):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in visited:
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            folders[:] = self._own(folders)
            start = os.path.relpath(folder, self.root)
            yield from (name if start == "." else f"{start}/{name}" for name in sorted(names))

    def _check(self) -> None:
        if not self.root.is_dir():
            raise ManifestError(f"{self.root} is not a folder; give the folder that holds the dataset's files.")

    def holds(self, name: str) -> bool:
        """Whether there is such a file below; not so for a broken link, or a name that leads out of the folder."""
        return not leads_out(name) and (self.root / name).is_file()

    def written(self, name: str) -> str:
        """The path of a file in the manifest. Errors: ManifestError where it is not UTF-8."""
        if is_url(self._manifest_folder):
            return "/" + written_path(self.root / name, Path("/"))
        return written_path(self.root / name, Path(self._manifest_folder))

    def origin(self, name: str) -> str:
        """As `written`, for the target of a link."""
        path = self.root / name
        return self.written(str(path.resolve()) if path.is_symlink() else name)

    def near(self, name: str) -> AbstractContextManager[Path]:
        """A path to read a file from."""
        return contextlib.nullcontext(self.root / name)


class ListedFolder(ABC):
    """A folder of whose files the names are known at once, with the methods of LocalFolder."""

    root: Path | str
    foreign: list[str]
    """as LocalFolder.foreign"""

    @cached_property
    @abstractmethod
    def _names(self) -> list[str]:
        """Names of all files below, sorted, without those of systems and tools. Errors: ManifestError."""

    def _below(self, inside: str) -> list[str]:
        """Names that begin with a folder's, sorted."""
        if not inside:
            return self._names
        begin = bisect_left(self._names, inside + "/")
        return self._names[begin : bisect_left(self._names, inside + "0", begin)]  # '0' follows '/'

    def folders(self, inside: str = "") -> list[str]:
        """As LocalFolder.folders. Errors: ManifestError where nothing can be listed, or there are no files."""
        start = len(inside) + 1 if inside else 0
        folders = sorted({name[start:].partition("/")[0] for name in self._below(inside) if "/" in name[start:]})
        return [posixpath.join(inside, name) for name in folders]

    def files(self, inside: str = "") -> Iterator[str]:
        """As LocalFolder.files. Errors: as folders."""
        yield from sorted(self._below(inside), key=_folder_by_folder)

    def holds(self, name: str) -> bool:
        """As LocalFolder.holds. Errors: as folders."""
        wanted = posixpath.normpath(name)
        position = bisect_left(self._names, wanted)
        return self._names[position : position + 1] == [wanted]

    @abstractmethod
    def written(self, name: str) -> str:
        """As LocalFolder.written."""

    @abstractmethod
    def origin(self, name: str) -> str:
        """As LocalFolder.origin."""

    @abstractmethod
    def near(self, name: str) -> AbstractContextManager[Path]:
        """As LocalFolder.near."""


class RemoteFolder(ListedFolder):
    """A folder at a URL, with the methods of LocalFolder; its files are listed once, when first needed.

    Names that are no plain path, such as x//y, or have a question mark are left out with a warning. Errors:
    ManifestError for such a URL, or one of a scheme that cannot be read.
    """

    root: str

    def __init__(self, root: str, manifest_folder: Path | str) -> None:
        if wrong := "an archive is no folder" if split_address(root).kind else wrong_address(root):
            raise ManifestError(f"The dataset's folder cannot be read: {wrong}.")
        self.root = root.rstrip("/")
        server, path = server_and_path(self.root)
        other, begin = server_and_path(str(manifest_folder))
        self._path, self._begin = path, begin if other == server else None
        self.foreign = []

    def __str__(self) -> str:
        return self.root

    @cached_property
    def _names(self) -> list[str]:
        if self.root.partition("://")[0] not in WRITABLE:  # HTTP knows no listing
            raise ManifestError(f"{self} cannot be listed; give a folder, one at s3:// or gs://, or a table of URLs.")
        listed = sorted(RemotePath(self.root).below())
        foreign = {name: [part for part in name.split("/")[:-1] if is_foreign(part)] for name in listed}
        self.foreign = sorted({parts[0] for parts in foreign.values() if parts})
        names = [name for name in listed if not _odd(name) and not foreign[name]]
        if not names:
            raise ManifestError(f"{self} holds no files; give the folder that holds those of the dataset.")
        odd = list(filter(_odd, listed))
        if odd:
            log.warning("%d names below %s are not plain paths and were left out, such as %r", len(odd), self, odd[0])
        return names

    def written(self, name: str) -> str:
        """As LocalFolder.written; relative where the manifest lies at the same server, else the file's URL."""
        if self._begin is None:
            return address_of(self.root, name)
        return posixpath.relpath(posixpath.join(self._path, name), self._begin)

    def origin(self, name: str) -> str:
        """As `written`: there are no links."""
        return self.written(name)

    def near(self, name: str) -> AbstractContextManager[Path]:
        """As LocalFolder.near, for a copy of the file."""
        return mirror.near(f"{self.root}/{name}")


MediaFolder = LocalFolder | ListedFolder


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; the disk is read for links only."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir(follow_symlinks=False)


def is_foreign(folder: str) -> bool:
    """Whether a folder of this name is hidden, or made by a system or a tool."""
    return folder.startswith(".") or folder in FOREIGN


def _odd(name: str) -> bool:
    return posixpath.normpath(f"x/{name}") != f"x/{name}" or "?" in name


def _folder_by_folder(name: str) -> tuple[list[str], str]:
    folder, last = posixpath.split(name)
    return folder.split("/"), last


def media_folder(root: Path | str, manifest_folder: Path | str) -> MediaFolder:
    """The folder at a path or URL. Errors: ManifestError."""
    return RemoteFolder(str(root), manifest_folder) if is_url(root) else LocalFolder(Path(root), manifest_folder)


def by_name(media: MediaFolder) -> dict[str, str]:
    """The last part of each file's name -> the name; the first in sorted order, if one repeats."""
    names: dict[str, str] = {}
    for name in media.files():
        names.setdefault(posixpath.basename(name), name)
    return names
