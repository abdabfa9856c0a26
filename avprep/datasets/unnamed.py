"""Media files below a dataset's folder that no row of its metadata names: counted, so that none is lost in silence."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from avprep.datasets.folder import is_media
from avprep.datasets.media_folder import Folder, Remote
from avprep.manifest.addresses import address_of
from avprep.shared.urls import WRITABLE


def unnamed(place: Folder | Remote, named: Iterable[str]) -> list[str]:
    """Names of media files in a folder that are not among `named`, paths from there, absolute ones or URLs.

    A folder at a server that lists nothing has none that are known of.
    """
    if isinstance(place, Remote) and place.root.partition("://")[0] not in WRITABLE:
        return []
    known = {_whole(place, name) for name in named}
    return [name for name in place.files() if is_media(name) and _whole(place, name) not in known]


def _whole(place: Folder | Remote, name: str) -> str:
    return address_of(str(place), name) or posixpath.normpath(posixpath.join(str(place), name))
