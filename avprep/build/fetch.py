"""Clips at URLs and in archives, copied one by one to a temporary folder for as long as they are decoded: no more than
Limits allow.

A clip that is not there is a clip that failed, as on a disk. A server that refuses or stays down ends the build, which
resumes: clips are not lost to a bad hour. An archive that is damaged as a whole ends it too. TMPDIR is the parent of
the temporary folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import posixpath
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from avprep.build.tasks import Task
from avprep.config import Limits
from avprep.errors import ClipError, UserError
from avprep.manifest.addresses import address_of, path_here
from avprep.shared import archives, mirror, names, parquet_rows
from avprep.shared.http_errors import GoneError
from avprep.shared.remote import RemotePath
from avprep.shared.urls import PARQUET, split_address


@contextlib.contextmanager
def fetched(task: Task) -> Iterator[Task]:
    """The task with the clip's files on this machine. Errors: as copied."""
    paths = dict.fromkeys(path for path in (task.clip.video_path, task.clip.audio_path) if path)
    elsewhere = [path for path in paths if split_address(path).kind or address_of(task.root, path)]
    if not elsewhere:
        yield task
        return
    with tempfile.TemporaryDirectory(prefix="avprep-") as folder:
        copies = {
            path: str(copied(task.root, path, names.inside(Path(folder), str(number)), task.limits))
            for number, path in enumerate(elsewhere)
        }
        yield dataclasses.replace(task, fetched=copies)


def copied(root: str, written: str, folder: Path, limits: Limits) -> Path:
    """A copy in `folder` of a clip's file at a URL or in an archive, under its own name.

    Errors: ClipError missing, too-large, io, encrypted, damaged; UserError.
    """
    kind, member, file = split_address(written)
    name, address = posixpath.basename(member or file), address_of(root, written)
    if ("?" in file and "?" in address) or not names.is_plain(name):
        raise ClipError("missing", "a question mark in an address, or no name of a file; rename the file")
    here = names.inside(folder, name)
    try:
        if kind:
            _unpack(RemotePath(address) if address else path_here(root, written), kind, member, here, limits)
        else:
            _fetch(RemotePath(address), here, limits)
    except OSError as error:
        raise UserError(
            f"{here.parent} cannot be written ({error.strerror}); make room there, or set TMPDIR."
        ) from None
    return here


def holds(archive: archives.Archive, kind: str, member: str) -> bool:
    """Whether an archive is there and has the member. Errors: UserError where it is damaged."""
    try:
        return parquet_rows.has(archive, member) if kind == PARQUET else member in archives.members(archive, kind)
    except archives.MemberError:
        return False


def _unpack(archive: archives.Archive, kind: str, member: str, here: Path, limits: Limits) -> None:
    try:
        content: Iterable[bytes | memoryview]
        if kind == PARQUET:
            data = parquet_rows.data_of(archive, member)
            size, content = len(data), [data]
        else:
            known = archives.members(archive, kind).get(member)
            if known is None:
                raise ClipError("missing", "the archive has no such member")
            size, content = known.size, archives.content(archive, known)
        _check_size(size, limits)
        here.parent.mkdir(parents=True, exist_ok=True)
        with open(here, "wb") as out:
            out.writelines(content)
    except archives.MemberError as error:
        raise ClipError(error.reason, error.detail) from None
    except GoneError as error:
        raise ClipError("missing", error.why) from None


def _fetch(remote: RemotePath, here: Path, limits: Limits) -> None:
    try:
        _check_size(mirror.size_of(remote), limits)
        mirror.fetch(remote, here)
    except GoneError as error:
        raise ClipError("missing", error.why) from None


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.max_file_bytes:
        raise ClipError("too-large", f"{size} bytes, the limit is {limits.max_file_bytes}")
