"""WAV files whose samples lie in wider containers, such as 24 bits in 32: read as what they are.

FFmpeg takes the number of valid bits of a WAVE_FORMAT_EXTENSIBLE header for the width of the samples. Such samples are
aligned to the top of their container, so a header in which all bits are valid gives the same sound.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

RIFF, WAVE64 = {b"RIFF", b"RF64", b"BW64"}, b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
EXTENSIBLE = 0xFFFE
SAMPLES = (1, 3)  # sub-formats: integers, floats
VALID_BITS = 18  # where a format chunk has them
MAX_CHUNKS = 256  # looked at before the format


def corrected(path: Path) -> BinaryIO | None:
    """The file with a header that FFmpeg reads rightly, None where its own does. Errors: OSError."""
    with open(path, "rb") as file:
        for start, data in _formats(file):
            tag, channels, _, _, align, _ = struct.unpack("<HHIIHH", data[:16])
            _, valid, _, kind = struct.unpack("<HHIH", data[16:26])
            container = align // channels if channels else 0
            if tag == EXTENSIBLE and kind in SAMPLES and 0 < valid <= 8 * (container - 1):
                return _Overlaid(path, start + VALID_BITS, struct.pack("<H", 8 * container))
    return None


def _formats(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(where it begins, its first 26 bytes) of the first format chunk, if it is as long as that."""
    magic = file.read(16)
    wide = magic == WAVE64  # there a name has 16 bytes, and sizes of 8 count the header
    if not wide and magic[:4] not in RIFF:
        return
    position, header = (40, 24) if wide else (12, 8)
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        name = file.read(header)
        if len(name) < header:
            return
        size = struct.unpack("<Q", name[16:])[0] - header if wide else struct.unpack("<I", name[4:])[0]
        if name[:4] == b"fmt ":
            data = file.read(26)
            if len(data) == 26 and size >= 26:
                yield position + header, data
            return
        if size < 0:
            return
        position += header + size + (-size % 8 if wide else size % 2)


class _Overlaid(io.FileIO):
    """A file that reads as if `data` lay at `position`."""

    def __init__(self, path: Path, position: int, data: bytes) -> None:
        super().__init__(path, "rb")
        self._position, self._data = position, data

    def read(self, count: int | None = -1) -> Any:
        start = self.tell()
        block = bytearray(super().read(count) or b"")
        first = max(self._position, start)
        last = min(self._position + len(self._data), start + len(block))
        if first < last:
            block[first - start : last - start] = self._data[first - self._position : last - self._position]
        return bytes(block)
