"""Where the files of a manifest's clips are: paths from its root on this machine, URLs, or in an archive at either."""

from __future__ import annotations

import itertools
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from avprep.shared import names
from avprep.shared.errors import UserError
from avprep.shared.urls import HTTP, PACKAGES, in_url, is_url, split_address, without_credentials

if TYPE_CHECKING:
    from avprep.manifest.clips import Clips


def wrong_address(written: str) -> str:
    """What is wrong with the URL of a clip, without repeating the URL; '' if nothing is."""
    kind, member, file = split_address(written)
    if kind:
        if not file or not names.is_plain(member):
            return f"an address of {kind}:// that is not {kind}://MEMBER::ARCHIVE with a member's name"
        return wrong_address(file) if is_url(file) else ""
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
    """The URL of a clip written so in a manifest, or of its archive; '' where that is a file of this machine.

    A whole URL stays as it is written; a path from `root` consists of names of files, not of URL text.
    """
    written = split_address(written).file
    if is_url(written):
        return written
    if not is_url(root) or written.startswith("/"):
        return ""
    server, folder = server_and_path(root)
    return server + posixpath.normpath(posixpath.join(folder, in_url(root.partition("://")[0], written)))


def path_here(root: str, written: str) -> Path:
    """The path of a clip's file, or of its archive, that is on this machine (address_of: '')."""
    return Path(os.path.join(root, split_address(written).file))


def server_and_path(url: str) -> tuple[str, str]:
    """SCHEME://SERVER and the path from '/' on, by their text, since '#' is part of a name."""
    scheme, _, rest = url.partition("://")
    server, _, path = rest.partition("/")
    return f"{scheme}://{server}", f"/{path}"


def check_local(clips: Clips, manifest: Path | str, root: str) -> None:
    """Raise UserError where a manifest at a URL names files of this machine.

    It may name those below a folder of this machine that the user gave as `root`, and anything at a URL.
    """
    if not is_url(manifest):
        return
    paths = itertools.chain(clips.values("video_path"), clips.values("audio_path"))
    outside = [
        path for path in paths if path and not address_of(root, path) and names.leads_out(split_address(path).file)
    ]
    if outside:
        raise UserError(
            f"{without_credentials(str(manifest))} names {len(outside)} files of this machine, such as "
            f"{ascii(outside[0])[:80]}; give --allow-local-paths if you trust whoever wrote it."
        )
