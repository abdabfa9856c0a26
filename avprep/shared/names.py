"""Paths from names that came with data: of JSON, tables, a listing. Nothing else joins such a name to a folder.

What is not a plain path below the folder is refused, whatever it would lead to. Links that a user has laid in a folder
of this machine are the user's layout and are followed; a name cannot make one.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any, Protocol, TypeVar

from avprep.shared.errors import UserError

MOST_CHARACTERS = 1024
MOST_PART_BYTES = 255
SHOWN_CHARACTERS = 80
ANY = re.compile(r"[^\x00-\x1f\x7f\\\ud800-\udfff]+")
DIGEST = re.compile(r"[0-9a-f]{64}")


class _Folder(Protocol):
    """A Path or a RemotePath."""

    def __truediv__(self, name: str, /) -> Any: ...


Folder = TypeVar("Folder", bound=_Folder)


def is_plain(name: object, pattern: re.Pattern[str] = ANY) -> bool:
    """Whether `name` is a path below a folder, '/' between its parts, and all of it fits `pattern`.

    No part is empty, '.' or '..' or longer than file systems take; there is no control character and no backslash.
    """
    if not isinstance(name, str) or len(name) > MOST_CHARACTERS or not pattern.fullmatch(name):
        return False
    return all(part not in ("", ".", "..") and len(part.encode()) <= MOST_PART_BYTES for part in name.split("/"))


def leads_out(path: str) -> bool:
    """Whether a file's path, as tables write it, is absolute or leads above the folder that it starts in."""
    return path.startswith("/") or posixpath.normpath(path).split("/")[0] == ".."


def checked(name: object, source: object, pattern: re.Pattern[str] = ANY) -> str:
    """`name`, which is in `source`. Errors: UserError where it is not plain (is_plain)."""
    if isinstance(name, str) and is_plain(name, pattern):
        return name
    shown = ascii(name)
    shown = shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}..."
    raise UserError(
        f"{source} names {shown}, which avprep never writes there, so it was altered; get an unaltered copy."
    )


def inside(folder: Folder, name: object, pattern: re.Pattern[str] = ANY) -> Folder:
    """The path of `name` below `folder`. Errors: as `checked`."""
    return folder / checked(name, folder, pattern)
