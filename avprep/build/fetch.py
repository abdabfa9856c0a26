"""Clips at URLs, fetched one by one to a temporary folder for as long as they are decoded: no more than Limits allow.

A clip that is not there is a clip that failed, as on a disk. A server that refuses or stays down ends the build, which
resumes: clips are not lost to a bad hour. TMPDIR says where the temporary folder is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from avprep.errors import ClipError, UserError
from avprep.shared import mirror, names
from avprep.shared.http_errors import GoneError
from avprep.shared.mirror import is_url
from avprep.shared.remote import HTTP, PACKAGES, RemotePath, in_url

if TYPE_CHECKING:
    from avprep.build.workers import ClipTask, SoundTask
    from avprep.config import Limits
    from avprep.manifest.clips import Clips


def wrong_address(written: str) -> str:
    """What is wrong with a URL that stands for a clip; '' if nothing is. What it says does not repeat the URL."""
    try:
        parts = urlsplit(written)
    except ValueError:
        return "an address that cannot be read"
    if parts.scheme not in (*PACKAGES, "memory"):
        return f"an address of {parts.scheme}://, which cannot be read"
    if parts.scheme in HTTP and "#" in written:
        return "an address with a '#', where an address ends; write %23 for one in a name"
    if parts.query or "@" in parts.netloc:
        return "an address with a query or credentials; give those by the environment"
    return ""


def start_of(manifest: Path | str, root: Path | str | None) -> str:
    """Where relative paths of a manifest start: `root`, else the manifest's folder; absolute, or a URL."""
    if root is None:
        root = posixpath.dirname(manifest) if isinstance(manifest, str) else manifest.parent
    return root if isinstance(root, str) else str(root.absolute())


def address_of(root: str, written: str) -> str:
    """The URL of a clip written so in a manifest; '' where it is a file of this machine.

    A whole URL stays as it is written; a path from `root` consists of names of files, not of URL text.
    """
    if is_url(written):
        return written
    if not is_url(root) or written.startswith("/"):
        return ""
    server, folder = server_and_path(root)
    return server + posixpath.normpath(posixpath.join(folder, in_url(root.partition("://")[0], written)))


def check_local(clips: Clips, manifest: Path | str, root: str) -> None:
    """Raise UserError where a manifest at a URL names files of this machine.

    It may name those below a folder of this machine that the user gave as `root`, and anything at a URL.
    """
    if not is_url(manifest):
        return
    paths = itertools.chain(clips.values("video_path"), clips.values("audio_path"))
    strangers = [path for path in paths if path and not address_of(root, path) and names.leads_out(path)]
    if strangers:
        raise UserError(
            f"{RemotePath(str(manifest))} names {len(strangers)} files of this machine, such as "
            f"{ascii(strangers[0])[:80]}; give --allow-local-paths if you trust whoever wrote it."
        )


def server_and_path(url: str) -> tuple[str, str]:
    """SCHEME://SERVER and the path from '/' on, by their text, since '#' is part of a name."""
    scheme, _, rest = url.partition("://")
    server, _, path = rest.partition("/")
    return f"{scheme}://{server}", f"/{path}"


@contextlib.contextmanager
def near(place: Path | str) -> Iterator[Path]:
    """A file at a path or URL as one of this machine. Errors: UserError where a URL leads nowhere."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="avprep-") as folder:
        remote = RemotePath(place)
        path = Path(folder) / names.checked(remote.name, remote)
        try:
            mirror.fetch(remote, path)
        except FileNotFoundError:
            raise UserError(f"{remote} does not exist; give a path or URL where there is a file.") from None
        with mirror.told_as(remote, path):
            yield path


@contextlib.contextmanager
def fetched(task: ClipTask | SoundTask) -> Iterator[ClipTask | SoundTask]:
    """The task with the clip's files on this machine. Errors: ClipError missing, too-large; UserError."""
    paths = (task.clip.video_path, task.clip.audio_path)
    written = [path for path in paths if path and address_of(task.root, path)]
    if not written:
        yield task
        return
    with tempfile.TemporaryDirectory(prefix="avprep-") as folder:
        found = {}
        for number, path in enumerate(dict.fromkeys(written)):
            name, address = posixpath.basename(path), address_of(task.root, path)
            if ("?" in path and "?" in address) or not names.is_plain(name):
                raise ClipError("missing", "a question mark in an address, or no name of a file; rename the file")
            here = names.inside(Path(folder), f"{number}/{name}")
            _fetch(RemotePath(address), here, task.limits)
            found[path] = str(here)
        yield dataclasses.replace(task, found=found)


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
