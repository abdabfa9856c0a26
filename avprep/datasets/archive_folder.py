"""The folder of a dataset's files as it is handed out: in tar and zip files, which stay as they are."""

from __future__ import annotations

import contextlib
import posixpath
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from avprep.datasets.media_folder import ListedFolder, MediaFolder, is_foreign
from avprep.errors import ManifestError
from avprep.shared import archives
from avprep.shared.names import inside, is_plain
from avprep.shared.remote import RemotePath
from avprep.shared.urls import ARCHIVES, in_archive


class ArchiveFolder(ListedFolder):
    """The files of a folder, and those inside the tar and zip files there as if these were unpacked in it.

    Where the archives have one top folder between them, it counts as the folder itself. A loose file comes before a
    member of its name, and the first archive before others. Errors: UserError where an archive cannot be read.
    """

    def __init__(self, media: MediaFolder) -> None:
        self.root, self._media, self.foreign = media.root, media, []

    def __str__(self) -> str:
        return str(self._media)

    @cached_property
    def _members(self) -> dict[str, tuple[str, str]]:
        """(archive, name there) of each member, by its name below the folder."""
        members: dict[str, tuple[str, str]] = {}
        foreign = set()
        for archive in filter(_is_archive, self._media.files()):
            if "::" in archive:
                raise ManifestError(f"{archive} has '::' in its name, which is between member and archive; rename it.")
            try:
                known = archives.members(self._at(archive), kind_of(archive))
            except archives.MemberError as error:
                raise ManifestError(f"{archive} in {self} cannot be read: {error.detail}.") from None
            for name in known:
                system = next(filter(is_foreign, name.split("/")[:-1]), None)
                if system is not None:
                    foreign.add(system)
                elif is_plain(name):
                    members.setdefault(name, (archive, name))
        if not members:
            raise ManifestError(f"{self} holds no .tar or .zip file with members; leave --archives out.")
        self.foreign = sorted({*self._media.foreign, *foreign})
        tops = {name.partition("/")[0] if "/" in name else "" for name in members}
        skipped = len(next(iter(tops))) + 1 if len(tops) == 1 and tops != {""} else 0
        return {name[skipped:]: where for name, where in members.items()}

    @cached_property
    def _names(self) -> list[str]:
        return sorted({*self._members, *(name for name in self._media.files() if not _is_archive(name))})

    def _at(self, archive: str) -> archives.Archive:
        return self.root / archive if isinstance(self.root, Path) else RemotePath(f"{self.root}/{archive}")

    def _loose(self, name: str) -> bool:
        return name not in self._members or self._media.holds(name)

    def written(self, name: str) -> str:
        """As LocalFolder.written, of a member its address."""
        name = posixpath.normpath(name)
        if self._loose(name):
            return self._media.written(name)
        archive, member = self._members[name]
        return in_archive(kind_of(archive), member, self._media.written(archive))

    def origin(self, name: str) -> str:
        """As `written`, a link of a loose file followed."""
        return self._media.origin(name) if self._loose(name) else self.written(name)

    @contextlib.contextmanager
    def near(self, name: str) -> Iterator[Path]:
        """As LocalFolder.near, of a member a copy. Errors: ManifestError where it is damaged."""
        name = posixpath.normpath(name)
        if self._loose(name):
            with self._media.near(name) as path:
                yield path
            return
        archive, member = self._members[name]
        at = self._at(archive)
        with tempfile.TemporaryDirectory(prefix="avprep-") as folder:
            path = inside(Path(folder), posixpath.basename(member))
            try:
                with open(path, "wb") as out:
                    out.writelines(archives.content(at, archives.members(at, kind_of(archive))[member]))
            except archives.MemberError as error:
                raise ManifestError(f"{member} in {archive} cannot be read: {error.detail}.") from None
            yield path


def kind_of(archive: Path | str) -> str:
    """The kind of an archive by its name's suffix, in small letters."""
    return str(archive).rpartition(".")[2].lower()


def _is_archive(name: str) -> bool:
    return kind_of(name) in ARCHIVES
