"""Media files below a dataset's folder that no row of its metadata names: counted, so that none is lost in silence."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from avprep.datasets.folder import is_media
from avprep.datasets.media_folder import MediaFolder, RemoteFolder
from avprep.manifest.addresses import address_of
from avprep.shared.urls import WRITABLE


def unnamed(media: MediaFolder, named: Iterable[str]) -> list[str]:
    """Names of media files in a folder that are not among `named`, paths from there, absolute ones or URLs.

    A folder at a server that lists nothing has none that are known of.
    """
    if isinstance(media, RemoteFolder) and media.root.partition("://")[0] not in WRITABLE:
        return []
    known = {_whole(media, name) for name in named}
    return [name for name in media.files() if is_media(name) and _whole(media, name) not in known]


def _whole(media: MediaFolder, name: str) -> str:
    return address_of(str(media), name) or posixpath.normpath(posixpath.join(str(media), name))
