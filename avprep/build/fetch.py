"""Clips at URLs, fetched one by one to a temporary folder for as long as they are decoded: no more than Limits allow.

A clip that is not there is a clip that failed, as on a disk. A server that refuses or stays down ends the build, which
resumes: clips are not lost to a bad hour. TMPDIR is the parent of the temporary folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path

from avprep.build.tasks import Task
from avprep.config import Limits
from avprep.errors import ClipError, UserError
from avprep.manifest.addresses import address_of
from avprep.shared import mirror, names
from avprep.shared.http_errors import GoneError
from avprep.shared.remote import RemotePath


@contextlib.contextmanager
def fetched(task: Task) -> Iterator[Task]:
    """The task with the clip's files on this machine. Errors: ClipError missing, too-large; UserError."""
    paths = (task.clip.video_path, task.clip.audio_path)
    written = [path for path in paths if path and address_of(task.root, path)]
    if not written:
        yield task
        return
    with tempfile.TemporaryDirectory(prefix="avprep-") as folder:
        copies = {}
        for number, path in enumerate(dict.fromkeys(written)):
            name, address = posixpath.basename(path), address_of(task.root, path)
            if ("?" in path and "?" in address) or not names.is_plain(name):
                raise ClipError("missing", "a question mark in an address, or no name of a file; rename the file")
            here = names.inside(Path(folder), f"{number}/{name}")
            _fetch(RemotePath(address), here, task.limits)
            copies[path] = str(here)
        yield dataclasses.replace(task, fetched=copies)


def _fetch(remote: RemotePath, here: Path, limits: Limits) -> None:
    try:
        size = mirror.size_of(remote)
        if size > limits.max_file_bytes:
            raise ClipError("too-large", f"{size} bytes, the limit is {limits.max_file_bytes}")
        mirror.fetch(remote, here)
    except GoneError as error:
        raise ClipError("missing", error.why) from None
    except OSError as error:
        raise UserError(
            f"{here.parent} cannot be written ({error.strerror}); make room there, or set TMPDIR."
        ) from None
