"""URLs as text: which they are, what their schemes can do, how they are written. Nothing here opens a connection."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

HTTP = ("http", "https")
WRITABLE = ("s3", "gs", "gcs", "memory")
ARCHIVES = ("tar", "zip")
PARQUET = "parquet"
HUB = "hf://"
PACKAGES = {
    "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "hf": "huggingface_hub", "http": "aiohttp",
    "https": "aiohttp",
}  # fmt: skip


class Address(NamedTuple):
    """A clip's file as a manifest writes it: a path or URL, or a member of an archive at such, `tar://MEMBER::FILE`.

    A Parquet file is an archive too, whose members are COLUMN/ROW.
    """

    kind: str
    """of ARCHIVES, or PARQUET; '' where the file itself is the clip's"""
    member: str
    file: str

    @property
    def as_path(self) -> str:
        """The file, a member below it as if it were a folder."""
        return f"{self.file}/{self.member}" if self.kind else self.file


def split_address(written: str) -> Address:
    """The parts of an address. The syntax of members is fsspec's; FILE is what follows the last `::`."""
    kind, separator, rest = written.partition("://")
    if not separator or kind not in (*ARCHIVES, PARQUET):
        return Address("", "", written)
    member, _, file = rest.rpartition("::")
    return Address(kind, member, file)


def in_archive(kind: str, member: str, file: str) -> str:
    """The address of a member of an archive, read back by split_address; `file` has no `::`."""
    return f"{kind}://{member}::{file}"


def is_url(value: object) -> bool:
    """Whether a value that a user gave for a file or folder is a URL, not a path."""
    return isinstance(value, str) and "://" in value


def is_hub(value: object) -> bool:
    """Whether a value that a user gave is an address of the Hugging Face hub."""
    return isinstance(value, str) and value.startswith(HUB)


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
