"""Files at http(s)://, s3://, gs://, az://, hf://, memory://: whole ones, ranges, many at a time, patiently retried.

Where the server takes files, also put there: one is there whole, or not at all.

fsspec does the talking; credentials come from the environment that its file systems read, and are never logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from avprep.shared import names
from avprep.shared.errors import UserError, first_line
from avprep.shared.http_errors import ShortAnswerError, passing_reason
from avprep.shared.urls import HTTP, PACKAGES, WRITABLE, in_url, is_url, without_credentials

log = logging.getLogger(__name__)

CONCURRENT_REQUESTS = 64
SLOWEST_BYTES_PER_SECOND = 1_000_000  # of a file that is put: an attempt may take so much longer
LISTING_SECONDS = 600.0  # that an attempt to list a large folder may take longer
STAMPS = ("ETag", "etag", "LastModified", "updated", "created")  # what servers report of a file besides its size


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How long a request is repeated: waits double from `first_wait_seconds` to `longest_wait_seconds`."""

    attempts: int = 7
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 8.0
    attempt_seconds: float = 60.0
    """an attempt that takes longer has failed"""


@dataclass(frozen=True)
class Span:
    """Bytes begin to end of a file."""

    path: RemotePath
    begin: int
    end: int


class RemotePath:
    """A file or folder at a URL, with as much of pathlib's manners as reading needs. Text shows no credentials."""

    def __init__(self, url: str, retry: Retry | None = None, remote: _Remote | None = None) -> None:
        parts, shown = urlsplit(url), without_credentials(url)
        if parts.query:
            raise UserError(f"{shown} has a query; name a folder, and give credentials by the environment.")
        if parts.scheme in HTTP and "#" in url:
            raise UserError(f"{shown} is followed by a '#', where an address ends; write %23 for one in a name.")
        self._url = url.rstrip("/")
        self._remote = remote or _Remote(parts.scheme, shown, retry or Retry())

    def __truediv__(self, inside: str) -> RemotePath:
        """A path below. Errors: UserError where `inside` is not a plain path."""
        return RemotePath(
            f"{self._url}/{in_url(self._remote.scheme, names.checked(inside, self))}", remote=self._remote
        )

    def __str__(self) -> str:
        return without_credentials(self._url)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._url.rsplit("/", 1)[-1]

    @property
    def url(self) -> str:
        """The URL as it was given, credentials included."""
        return self._url

    def is_file(self) -> bool:
        """Whether there is such a file. Errors: UserError where the server does not answer that."""
        try:
            self.sizes([self])
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """The whole file. Errors: FileNotFoundError; UserError where it cannot be had."""
        return self.read_together([self])[0]

    def read_together(self, paths: Sequence[RemotePath]) -> list[bytes]:
        """Whole files of the same server. Errors: as read_bytes."""
        return self._remote.run([self._remote.whole(path) for path in paths])

    def read_text(self) -> str:
        """The whole file as UTF-8."""
        return self.read_bytes().decode()

    def sizes(self, paths: Sequence[RemotePath]) -> list[int | None]:
        """Bytes of each of some files of the same server; None where it reports no size. Errors: as read_bytes."""
        return self._remote.run([self._remote.size(path) for path in paths])

    def stamp(self) -> str:
        """A text that changes when the file is written anew, as far as its server shows that. Errors: as read_bytes."""
        (about,) = self._remote.run([self._remote.about(self)])
        return " ".join(str(about[name]) for name in STAMPS if about.get(name))

    def read_range(self, begin: int, view: memoryview) -> None:
        """Fill `view` with the bytes from `begin` on. Errors: as fetch."""

        def take(_number: int, data: bytes) -> None:
            view[:] = data

        self.fetch([Span(self, begin, begin + len(view))], take)

    def fetch(self, spans: Sequence[Span], take: Callable[[int, bytes], None]) -> None:
        """Call take(number, bytes) for each span of the same server's files, as they arrive, in any order.

        Errors: FileNotFoundError; UserError naming a file that is short, or whose server is down or ignores ranges.
        """

        async def one(number: int, span: Span) -> None:
            take(number, await self._remote.span(span))

        self._remote.run([one(number, span) for number, span in enumerate(spans)])

    def check_writable(self) -> None:
        """Raise UserError where nothing can be put."""
        if self._remote.scheme not in WRITABLE:
            raise UserError(f"{self} cannot be written to; give a folder, or one at s3:// or gs://.")

    def put(self, local: Path) -> None:
        """Put a file of this machine here, whole or not at all. Errors: UserError where that is refused or fails."""
        self._remote.run([self._remote.put(self, local)])

    def remove(self) -> None:
        """Remove the file, if it is there. Errors: UserError."""
        with contextlib.suppress(FileNotFoundError):
            self._remote.run([self._remote.remove(self)])

    def below(self) -> dict[str, int]:
        """Bytes of every file below, by its path from here. Errors: UserError."""
        (sizes,) = self._remote.run([self._remote.below(self)])
        return sizes


def path_of(folder: str | Path | RemotePath) -> Path | RemotePath:
    """A Path, or a RemotePath where `folder` is a URL."""
    if isinstance(folder, RemotePath):
        return folder
    return RemotePath(str(folder)) if is_url(folder) else Path(folder)


def read_all(paths: Sequence[Path | RemotePath]) -> list[bytes]:
    """Whole files, those of one server together. Errors: OSError; as RemotePath.read_bytes."""
    data: dict[int, bytes] = {}
    of_server: dict[_Remote, dict[int, RemotePath]] = {}
    for number, path in enumerate(paths):
        if isinstance(path, RemotePath):
            of_server.setdefault(path._remote, {})[number] = path
        else:
            data[number] = path.read_bytes()
    for some in of_server.values():
        data.update(zip(some, next(iter(some.values())).read_together(list(some.values())), strict=True))
    return [data[number] for number in range(len(paths))]


class _Remote:
    """One file system of fsspec, opened at first use and anew in a forked process."""

    def __init__(self, scheme: str, shown: str, retry: Retry) -> None:
        self.scheme, self.shown, self.retry = scheme, shown, retry
        self._opened: tuple[int, Any, asyncio.Semaphore] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def run(self, calls: Sequence[Awaitable[Any]]) -> list[Any]:
        """The results of all calls; the first error ends the others."""
        from fsspec.asyn import sync

        async def together() -> list[Any]:
            tasks = [asyncio.ensure_future(call) for call in calls]
            try:
                return list(await asyncio.gather(*tasks))
            except BaseException:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise

        try:
            return sync(self._open()[0].loop, together)
        except BaseException:
            for call in calls:
                if asyncio.iscoroutine(call):
                    call.close()
            raise

    async def whole(self, path: RemotePath) -> bytes:
        return await self._patiently(path, lambda files: files._cat_file(path.url))

    async def about(self, path: RemotePath) -> dict[str, Any]:
        return await self._patiently(path, lambda files: files._info(path.url))

    async def size(self, path: RemotePath) -> int | None:
        return (await self.about(path))["size"]

    async def span(self, span: Span) -> bytes:
        wanted = span.end - span.begin

        async def read(files: Any) -> bytes:
            data = await files._cat_file(span.path.url, start=span.begin, end=span.end)
            if len(data) > wanted:
                raise UserError(f"{span.path} came whole where a range was asked; its server must honour Range.")
            if len(data) < wanted:
                raise ShortAnswerError(f"{len(data)} bytes instead of {wanted}")
            return data

        return await self._patiently(span.path, read)

    async def put(self, path: RemotePath, local: Path) -> None:
        longer = local.stat().st_size / SLOWEST_BYTES_PER_SECOND
        await self._patiently(path, lambda files: files._put_file(str(local), path.url), "written", longer)

    async def remove(self, path: RemotePath) -> None:
        await self._patiently(path, lambda files: files._rm_file(path.url), "removed")

    async def below(self, path: RemotePath) -> dict[str, int]:
        async def find(files: Any) -> dict[str, int]:
            try:
                entries = await files._find(path.url, detail=True)
            except FileNotFoundError:
                return {}
            start = len(files._strip_protocol(path.url)) + 1
            return {name[start:]: entry["size"] for name, entry in entries.items() if len(name) > start}

        return await self._patiently(path, find, longer=LISTING_SECONDS)

    def _open(self) -> tuple[Any, asyncio.Semaphore]:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), _file_system(self.scheme, self.shown), asyncio.Semaphore(CONCURRENT_REQUESTS))
        return self._opened[1:]

    async def _patiently(
        self, path: RemotePath, request: Callable[[Any], Awaitable[Any]], verb: str = "read", longer: float = 0.0
    ) -> Any:
        """What `request` gives, after as many attempts as it takes within bounds; each may take seconds `longer`."""
        files, free = self._open()
        wait = self.retry.first_wait_seconds
        for attempt in range(1, self.retry.attempts + 1):
            try:
                async with free:
                    return await asyncio.wait_for(request(files), self.retry.attempt_seconds + longer)
            except Exception as error:
                reason = passing_reason(path, error, verb)
            if attempt < self.retry.attempts:
                log.warning("%s: %s; attempt %d follows in %.2g s", path, reason, attempt + 1, wait)
                await asyncio.sleep(wait)
                wait = min(2 * wait, self.retry.longest_wait_seconds)
        raise UserError(f"{path} could not be {verb} in {self.retry.attempts} attempts ({reason}); try again later.")


def _file_system(scheme: str, shown: str) -> Any:
    import fsspec
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    options: dict[str, Any] = {"use_listings_cache": False} if scheme in ("s3", "gs", "gcs") else {}  # others write too
    if scheme == "hf":
        options = {"endpoint": os.environ.get("HF_ENDPOINT") or None}
    if scheme == "s3":
        options["config_kwargs"] = {"max_pool_connections": CONCURRENT_REQUESTS}
    try:
        files = fsspec.filesystem(scheme, **options)
    except (ImportError, TypeError, ValueError) as error:
        package = PACKAGES.get(scheme)
        step = f"pip install {package}" if package else "http, https, s3, gs, az, hf and memory can be read"
        raise UserError(f"{shown} cannot be opened ({first_line(error)}): {step}.") from None
    return files if files.async_impl else AsyncFileSystemWrapper(files, asynchronous=False)
