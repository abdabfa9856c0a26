"""Where a second recording begins in a file: what FFmpeg passes over in silence, since the first one's sizes end it.

Where FFmpeg reads on instead, the tracks' clocks show it (restarts.py), or, in AVI and in elementary streams, there is
nothing wrong: the parts follow each other.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from avprep.media import boxes

ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
AMR, AMR_WB = b"#!AMR\n", b"#!AMR-WB\n"
AMR_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6)  # of a frame by its mode, the byte that has the mode among them
AMR_WB_BYTES = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6)  # the modes above hold that byte alone
FLV_TAGS = {8, 9, 18}
HEADER_BYTES = 24


def second_start(path: Path, size: int) -> int | None:
    """The byte where a second recording begins in a file of `size` bytes, None where none does.

    Cost: reading one header for each top-level part of the file; of FLV and AMR, for each packet.
    """
    with open(path, "rb") as handle:
        begin = os.pread(handle.fileno(), HEADER_BYTES, 0)
        for magic, after in STEPS.items():
            if begin.startswith(magic):
                return _second(handle.fileno(), size, begin, magic, after)
    return boxes.second_movie(path, size)


def _second(file: int, size: int, begin: bytes, magic: bytes, after: Callable[[bytes], int]) -> int | None:
    form = begin[8:12] if magic in FORMS else b""
    if form == b"AVI ":
        return None
    position = after(begin)
    while 0 < position < size:
        header = os.pread(file, HEADER_BYTES, position)
        if header.startswith(magic) and header[8:12].startswith(form):
            return position
        step = after(header)
        if step <= 0:
            return None
        position += step
    return None


def _riff(header: bytes) -> int:
    return 8 + _even(struct.unpack("<I", header[4:8])[0]) if header[:4] == b"RIFF" and len(header) >= 8 else 0


def _form(header: bytes) -> int:
    return 8 + _even(struct.unpack(">I", header[4:8])[0]) if header[:4] == b"FORM" and len(header) >= 8 else 0


def _even(size: int) -> int:
    return size + size % 2


def _w64(header: bytes) -> int:
    return -(-struct.unpack("<Q", header[16:24])[0] // 8) * 8 if len(header) == HEADER_BYTES else 0


def _asf(header: bytes) -> int:
    return struct.unpack("<Q", header[16:24])[0] if len(header) == HEADER_BYTES else 0


def _caf(header: bytes) -> int:
    if header.startswith(b"caff"):
        return 8
    return 12 + struct.unpack(">q", header[4:12])[0] if len(header) >= 12 else 0


def _flv(header: bytes) -> int:
    if header.startswith(b"FLV"):
        return struct.unpack(">I", header[5:9])[0] + 4 if len(header) >= 9 else 0
    return 11 + int.from_bytes(header[1:4], "big") + 4 if header and header[0] & 0x1F in FLV_TAGS else 0


def _amr(header: bytes, magic: bytes, sizes: tuple[int, ...]) -> int:
    if header.startswith(magic):
        return len(magic)
    mode = header[0] >> 3 & 15
    return sizes[mode] if mode < len(sizes) else 1


FORMS = (b"RIFF", b"FORM")
STEPS: dict[bytes, Callable[[bytes], int]] = {
    b"RIFF": _riff,
    b"FORM": _form,
    W64_RIFF: _w64,
    ASF_HEADER: _asf,
    b"caff": _caf,
    b"FLV\x01": _flv,
    AMR: lambda header: _amr(header, AMR, AMR_BYTES),
    AMR_WB: lambda header: _amr(header, AMR_WB, AMR_WB_BYTES),
}
