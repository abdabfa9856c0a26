"""The NAL units of H.264 and HEVC packets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

START = b"\x00\x00\x01"


@dataclass(frozen=True)
class Syntax:
    """Where a unit's first byte has its kind, and which kinds are slices of pictures."""

    shift: int
    mask: int
    slices: range

    def kind(self, first_byte: int) -> int:
        """The kind of a unit."""
        return first_byte >> self.shift & self.mask


H264 = Syntax(0, 31, range(1, 6))
HEVC = Syntax(1, 63, range(32))


def h264_length_bytes(extradata: bytes | None) -> int:
    """Bytes of a unit's length, as avcC has it; 0 of a stream with start codes."""
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def hevc_length_bytes(extradata: bytes | None) -> int:
    """Bytes of a unit's length, as hvcC has it; 0 of a stream with start codes."""
    return (extradata[21] & 3) + 1 if extradata and len(extradata) > 21 and extradata[0] == 1 else 0


def units(data: bytes, length_bytes: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) byte of each unit of a packet that is not empty; `length_bytes` 0: start codes divide them."""
    position = 0
    while length_bytes and position + length_bytes < len(data):
        start = position + length_bytes
        position = start + int.from_bytes(data[position:start], "big")
        if start < position:
            yield start, position
    start = -1 if length_bytes else data.find(START)
    while 0 <= start < len(data) - 3:
        following = data.find(START, start + 3)
        yield start + 3, len(data) if following < 0 else following
        start = following


def first_slice(data: bytes, length_bytes: int, syntax: Syntax) -> int | None:
    """The kind of a packet's first slice, None where it has none."""
    kinds = (syntax.kind(data[start]) for start, _ in units(data, length_bytes))
    return next((kind for kind in kinds if kind in syntax.slices), None)
