"""A folder of work on this machine whose files live at a URL: fetched when work begins, put there as they are made."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from avprep.shared import names
from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath, Span, read_all

BLOCK_BYTES = 16 << 20
TOGETHER = 64


@contextlib.contextmanager
def mirrored(url: str) -> Iterator[Mirror]:
    """A mirror in a temporary folder, which has the last name of the URL and is removed afterwards.

    Errors: UserError where nothing can be put at the URL.
    """
    remote = RemotePath(url)
    remote.check_writable()
    with tempfile.TemporaryDirectory(prefix="avprep-") as scratch:
        folder = names.inside(Path(scratch), remote.name or "root")
        folder.mkdir()
        with named_as(remote, folder):
            yield Mirror(remote, folder)


@contextlib.contextmanager
def sent(target: Path | str) -> Iterator[Path]:
    """A path to write a file to; where `target` is a URL, the file is copied there in the end. Errors: as mirrored."""
    if isinstance(target, Path):
        yield target
        return
    folder, _, name = target.rpartition("/")
    if not name or folder.endswith("/"):
        raise UserError(f"{target} names no file; give one, such as s3://bucket/clips.csv.")
    with mirrored(folder) as mirror:
        yield names.inside(mirror.folder, name)
        mirror.push(name)


@contextlib.contextmanager
def near(source: Path | str) -> Iterator[Path]:
    """A file at a path or URL as one of this machine. Errors: UserError where a URL leads nowhere."""
    if isinstance(source, Path):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="avprep-") as folder:
        remote = RemotePath(source)
        path = Path(folder) / names.checked(remote.name, remote)
        try:
            fetch(remote, path)
        except FileNotFoundError:
            raise UserError(f"{remote} does not exist; give a path or URL where there is a file.") from None
        with named_as(remote, path):
            yield path


@contextlib.contextmanager
def named_as(remote: RemotePath | str, path: Path) -> Iterator[None]:
    """In messages of the block, the URL replaces the path of its copy."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(path), str(remote))) from None


class Mirror:
    """`folder` here and `remote` there; names are paths in both. Errors of all methods: UserError for a name that is
    no path below them."""

    def __init__(self, remote: RemotePath, folder: Path) -> None:
        self.remote, self.folder = remote, folder

    def here(self, name: str) -> Path:
        """Where a file lies on this machine."""
        return names.inside(self.folder, name)

    def pull(self, wanted: Iterable[str]) -> None:
        """Fetch those of the files that are there. Errors: UserError."""
        for name in wanted:
            with contextlib.suppress(FileNotFoundError):
                try:
                    fetch(self.remote / name, self.here(name))
                except (FileExistsError, IsADirectoryError, NotADirectoryError):
                    raise UserError(
                        f"{self.remote / name} is a file where others lie in a folder of that name; remove either."
                    ) from None

    def pull_together(self, wanted: Sequence[str]) -> None:
        """Fetch small files that are there, many at once. Errors: FileNotFoundError; UserError."""
        for begin in range(0, len(wanted), TOGETHER):
            some = wanted[begin : begin + TOGETHER]
            for name, data in zip(some, read_all([self.remote / name for name in some]), strict=True):
                path = self.here(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def push(self, *wanted: str) -> None:
        """Put files there one after the other: once the last is there, all are. Errors: UserError."""
        for name in wanted:
            (self.remote / name).put(self.here(name))


def fetch(remote: RemotePath, path: Path) -> None:
    """Fetch a whole file in blocks. Errors: FileNotFoundError (nothing is written); UserError."""
    size = size_of(remote)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:

        def take(_number: int, data: bytes) -> None:
            file.write(data)

        for begin in range(0, size, BLOCK_BYTES):
            remote.fetch([Span(remote, begin, min(begin + BLOCK_BYTES, size))], take)


def size_of(remote: RemotePath) -> int:
    """Bytes of a file. Errors: FileNotFoundError; UserError."""
    (size,) = remote.sizes([remote])
    if size is None:
        raise UserError(f"The server of {remote} does not send its size; copy the file to this machine.")
    return size
