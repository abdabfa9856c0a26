"""Whether the files of clips can be read now: that a file was missing is no property of its clip.

A build checks before it decodes, and again for clips whose file was missing in an earlier build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avprep.build.fetch import holds
from avprep.errors import PASSING_REASONS, ManifestError
from avprep.manifest.addresses import address_of, path_here
from avprep.manifest.clips import Clip
from avprep.shared.remote import RemotePath
from avprep.shared.urls import split_address

MOST_ASKED = 50  # files at URLs: as many as may fail in a row before a build stops


def check_any(clips: Iterable[Clip], root: str, manifest: Path | str) -> None:
    """Raise ManifestError where not one file of a manifest's clips is there; at URLs 50 are looked for, at most.

    Errors: also UserError where a server does not answer that.
    """
    first, asked = "", 0
    for path in (path for clip in clips for path in _paths(clip)):
        address, kind = address_of(root, path), split_address(path).kind
        asked += bool(address)
        if asked > MOST_ASKED or (_readable(root, path) if kind or address else path_here(root, path).exists()):
            return
        shown = str(RemotePath(address.partition("?")[0])) if address else str(path_here(root, path))
        first = first or (f"{split_address(path).member} in {shown}" if kind else shown)
    raise ManifestError(
        f"Not one file that {manifest} names is there, such as {first}; --root names the folder where its relative "
        "paths start."
    )


def retried(
    clips: Sequence[Clip] | Mapping[int, Clip], root: str, retry_failed: bool, back: list[str]
) -> Callable[[dict[str, Any]], bool]:
    """Whether a failure of a done-marker is worth another try: all where `retry_failed`, else where files are back.

    Ids of clips whose files were missing or unreadable, and are not so now, are appended to `back`.
    """

    def worth(failure: dict[str, Any]) -> bool:
        if failure["reason"] not in PASSING_REASONS:
            return retry_failed
        readable = all(_readable(root, path) for path in _paths(clips[failure["row"]]))
        if readable:
            back.append(failure["clip_id"])
        return readable or retry_failed

    return worth


def _paths(clip: Clip) -> list[str]:
    return [path for path in (clip.video_path, clip.audio_path) if path]


def _readable(root: str, path: str) -> bool:
    """Whether a file is there and gives its first byte; of one at a URL or in an archive, whether it is there."""
    address, (kind, member, _) = address_of(root, path), split_address(path)
    if "?" in address:
        return False
    if kind:
        return holds(RemotePath(address) if address else path_here(root, path), kind, member)
    if address:
        return RemotePath(address).is_file()
    try:
        with open(path_here(root, path), "rb") as file:
            file.read(1)
    except OSError:
        return False
    return True
