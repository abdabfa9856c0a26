"""Tar and zip files as they are, here or at a URL: which members they have, and one member at a time, by its offset.

Nothing else of an archive is unpacked or copied. What they have is read once for each archive and kept.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import struct
import tarfile
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, cast

from avprep.shared.errors import UserError
from avprep.shared.http_errors import GoneError
from avprep.shared.mirror import size_of
from avprep.shared.remote import RemotePath

BLOCK_BYTES = 4 << 20
HEADER_BYTES = 64 << 10
"""read at once of an archive at a URL while its headers are read"""
MOST_KEPT = 1_000_000
"""members of all archives whose offsets are kept, about 200 bytes each"""
NO_CRC = -1
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""of a zip's member: signature, bytes of its name, bytes of its extra field (PKWARE's APPNOTE, 4.3.7)"""
DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error,
)  # fmt: skip

Archive = Path | RemotePath

log = logging.getLogger(__name__)
_known: OrderedDict[tuple[str, str], dict[str, Member]] = OrderedDict()
_lock = threading.Lock()


class Member(NamedTuple):
    """Where a member lies: first byte (tar: of its data, zip: of its header), bytes there, bytes unpacked."""

    begin: int
    stored_bytes: int
    size: int
    method: int = zipfile.ZIP_STORED
    """of compression, as zip files number them"""
    crc: int = NO_CRC
    encrypted: bool = False


class MemberError(Exception):
    """A member that cannot be had: `reason` is missing, io, encrypted or damaged."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def members(archive: Archive, kind: str) -> Mapping[str, Member]:
    """The files in an archive by name, without a leading './'; of a repeated name the last, as tar and unzip have it.

    Errors: MemberError missing, io where the archive cannot be read; UserError where it is damaged.
    """
    with reported():
        key = key_of(archive)
        with _lock:
            if key not in _known:
                with opened(archive) as file:
                    _known[key] = _read(file, archive, kind)
                while len(_known) > 1 and sum(map(len, _known.values())) > MOST_KEPT:
                    _known.popitem(last=False)
            _known.move_to_end(key)
            return _known[key]


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Of a block that reads an archive: one that is not there, or cannot be read, is a MemberError missing or io."""
    try:
        yield
    except GoneError as error:
        raise MemberError("missing", f"of the archive, {error.why}") from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise MemberError("missing", "the archive is not there") from None
    except OSError as error:
        raise MemberError("io", error.strerror or "the archive could not be read") from None


def content(archive: Archive, member: Member) -> Iterator[bytes]:
    """The bytes of a member, block by block, checked by the end: no more than its size, and those of its checksum.

    Errors: MemberError encrypted, damaged, io; UserError of a server.
    """
    if member.encrypted:
        raise MemberError("encrypted", "the member of the archive has a password")
    if member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MemberError("damaged", f"compressed by method {member.method} of zip; only stored and deflated are read")
    begin = member.begin if member.crc == NO_CRC else _data_of(archive, member.begin)
    blocks = _blocks(archive, begin, begin + member.stored_bytes)
    size = crc = 0
    try:
        for data in _inflated(blocks) if member.method == zipfile.ZIP_DEFLATED else blocks:
            size, crc = size + len(data), zlib.crc32(data, crc)
            if size > member.size:
                break
            yield data
    except zlib.error:
        raise MemberError("damaged", "the member of the archive cannot be unpacked") from None
    if size != member.size:
        raise MemberError("damaged", "the member of the archive has another size than recorded")
    if member.crc not in (NO_CRC, crc):
        raise MemberError("damaged", "the member of the archive does not match its checksum")


def key_of(archive: Archive) -> tuple[str, str]:
    """The archive, and what changes when it is written anew."""
    if isinstance(archive, RemotePath):
        return archive.url, archive.stamp() or str(size_of(archive))
    status = archive.stat()
    return str(archive.absolute()), f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def opened(archive: Archive) -> IO[bytes]:
    """An archive as a file that can be read anywhere."""
    if isinstance(archive, RemotePath):
        return cast(IO[bytes], io.BufferedReader(_RemoteFile(archive), HEADER_BYTES))
    return open(archive, "rb")


class _RemoteFile(io.RawIOBase):
    """A file at a URL as one that can be read anywhere."""

    def __init__(self, path: RemotePath) -> None:
        self._path, self._size, self._at = path, size_of(path), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, origin: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[origin]
        if at < 0:
            raise ValueError("before the start of the file")
        self._at = at
        return at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        if count:
            self._path.read_range(self._at, memoryview(buffer)[:count])
            self._at += count
        return count


def _read(file: IO[bytes], archive: Archive, kind: str) -> dict[str, Member]:
    """Errors: UserError where it is not an archive of this kind, or damaged."""
    first = file.read(6)
    if kind == "tar" and first.startswith(COMPRESSED):
        raise UserError(
            f"{archive} is a compressed tar, of which no member can be read by itself; decompress it to a .tar file."
        )
    file.seek(0)
    try:
        return _of_tar(file, archive) if kind == "tar" else _of_zip(file, archive)
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # an offset before the start of the file
            raise
        if "multiple disks" in str(error):
            raise _split(archive) from None
        raise UserError(
            f"{archive} is no {kind} file, cut off or damaged ({error}); get it again, or take its clips out of the "
            "manifest."
        ) from None


def _of_tar(file: IO[bytes], archive: Archive) -> dict[str, Member]:
    known: dict[str, Member] = {}
    with tarfile.open(fileobj=file, mode="r:") as tar:
        last = -1
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # a TarInfo takes 1 KB
            if info.size < 0 or info.offset <= last:
                raise tarfile.ReadError(f"a wrong size at byte {info.offset}")
            last = info.offset
            name = _plain(info.name)
            if info.islnk() and _plain(info.linkname) in known:
                known[name] = known[_plain(info.linkname)]
            elif info.isreg() and not info.issparse():
                known[name] = Member(info.offset_data, info.size, info.size)
        end = tar.offset
    file.seek(end)
    rest = file.read(HEADER_BYTES)
    if rest.strip(b"\0"):  # tarfile stops there without a word
        raise tarfile.ReadError(f"no header of a member at byte {end}; or several tar files were joined")
    if not rest:
        log.warning("%s has no mark at its end; if it was cut off, members are missing", archive)
    return known


def _of_zip(file: IO[bytes], archive: Archive) -> dict[str, Member]:
    with zipfile.ZipFile(file) as bundle:
        files = [info for info in bundle.infolist() if not info.is_dir()]
    if any(info.volume for info in files):
        raise _split(archive)
    return {
        _plain(info.filename): Member(
            info.header_offset,
            info.compress_size,
            info.file_size,
            info.compress_type,
            info.CRC,
            bool(info.flag_bits & 1),
        )
        for info in files
    }


def _split(archive: Archive) -> UserError:
    return UserError(
        f"{archive} is one part of a zip file that was split (.z01, .z02 ...); join them with 'zip -s 0 {archive.name} "
        "--out whole.zip'."
    )


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _data_of(archive: Archive, begin: int) -> int:
    """Where the data of a zip's member begins, whose header does at `begin`."""
    header = b"".join(_blocks(archive, begin, begin + LOCAL_HEADER.size))
    signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
    if signature != b"PK\3\4":
        raise MemberError("damaged", "the member of the archive has no header")
    return begin + LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes)


def _blocks(archive: Archive, begin: int, end: int) -> Iterator[bytes]:
    """Bytes `begin` to `end`, in blocks. Errors: MemberError io, damaged; UserError of a server."""
    spans = ((at, min(at + BLOCK_BYTES, end)) for at in range(begin, end, BLOCK_BYTES))
    if isinstance(archive, RemotePath):
        for at, stop in spans:
            block = bytearray(stop - at)
            archive.read_range(at, memoryview(block))
            yield bytes(block)
        return
    try:
        with open(archive, "rb") as file:
            file.seek(begin)
            for at, stop in spans:
                data = file.read(stop - at)
                if len(data) < stop - at:
                    raise MemberError("damaged", "the archive ends within the member")
                yield data
    except OSError as error:
        raise MemberError("io", error.strerror or "the archive could not be read") from None


def _inflated(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """What deflated blocks unpack to, in blocks of no more than BLOCK_BYTES."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    for block in blocks:
        while block:
            yield engine.decompress(block, BLOCK_BYTES)
            block = engine.unconsumed_tail
    yield engine.flush()
