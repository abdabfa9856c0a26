"""URLs as text: which they are, what their schemes can do, how they are written. Nothing here opens a connection."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

HTTP = ("http", "https")
WRITABLE = ("s3", "gs", "gcs", "memory")
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}


def is_url(value: object) -> bool:
    """Whether a value that a user gave for a file or folder is a URL, not a path."""
    return isinstance(value, str) and "://" in value


def in_url(scheme: str, name: str) -> str:
    """A file's name as part of a URL: percent-encoded for HTTP, where '#', '?', '%' have a meaning, else as it is."""
    return quote(name) if scheme in HTTP else name


def without_credentials(url: str) -> str:
    """`url` without user, password and query."""
    parts = urlsplit(url, allow_fragments=urlsplit(url).scheme in HTTP)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def path_or_url(given: Path | str) -> Path | str:
    """A URL as text, all else as a Path."""
    return given if isinstance(given, str) and is_url(given) else Path(given)
