"""How long a picture's orientation holds that an H.264 stream sets itself, by a display orientation SEI message.

FFmpeg gives such a message's display matrix with the one picture that carries it. By the standard (D.2.27) one with a
repetition period of 0 is for that picture alone; any other holds, in output order, until the next message, which may
also cancel it. An IDR picture would end it too, but encoders set it once for the whole stream, and FFmpeg's program
and its HEVC decoder keep it: so it is kept here. A matrix of the container goes before it, as in FFmpeg.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from av.codec.context import Flags
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avprep.media import nal

DISPLAY_ORIENTATION = 47
SEI = 6  # the kind of unit


@dataclass(frozen=True)
class Mark:
    """A message of orientation: whether it holds for later pictures."""

    holds: bool


class Orientation:
    """The display matrices of an H.264 track's pictures, in output order."""

    def __init__(self, stream: VideoStream) -> None:
        self._length_bytes = nal.h264_length_bytes(stream.codec_context.extradata)
        self._held: bytes | None = None
        self.marked = False
        """whether a packet so far had a message"""
        stream.codec_context.flags |= Flags.copy_opaque

    def mark(self, packet: Packet) -> bool:
        """Whether the packet's picture has a message, and must be decoded for it."""
        mark = mark_of(bytes(packet), self._length_bytes)
        if mark:
            packet.opaque, self.marked = mark, True
        return mark is not None

    def hold(self, frame: VideoFrame) -> None:
        """Leave in `frame.opaque` the matrix, in a tuple, of an earlier message that holds for this picture, else None.

        A tuple of its own for each: PyAV forgets an object that two frames share with the first of them.
        """
        mark = frame.opaque
        if isinstance(mark, Mark):
            self._held = matrix(frame) if mark.holds else None
        if mark or self._held:
            frame.opaque = None if mark or not self._held else (self._held,)


def matrix(frame: VideoFrame) -> bytes | None:
    """The display matrix, nine int32, that comes with a picture; the container's where the stream has one as well."""
    side_data: Iterable[Any] = frame.side_data  # a mapping by its stubs
    return next((bytes(data) for data in side_data if data.type == Type.DISPLAYMATRIX), None)


def held(frame: VideoFrame) -> bytes | None:
    """The display matrix that `Orientation.hold` has left in a picture."""
    return frame.opaque[0] if isinstance(frame.opaque, tuple) else None


def turns(stream: VideoStream, packet: Packet) -> bool:
    """Whether an H.264 packet has a message of orientation."""
    return mark_of(bytes(packet), nal.h264_length_bytes(stream.codec_context.extradata)) is not None


def mark_of(data: bytes, length_bytes: int) -> Mark | None:
    """The last message before a packet's first slice; `length_bytes` is 0 where start codes divide its NAL units."""
    mark = None
    for start, end in nal.units(data, length_bytes):
        kind = nal.H264.kind(data[start])
        if kind in nal.H264.slices:
            break
        if kind == SEI:
            for payload in _orientations(data[start + 1 : end].replace(b"\x00\x00\x03", b"\x00\x00")):
                mark = Mark(_holds(payload))
    return mark


def _orientations(body: bytes) -> Iterator[bytes]:
    """The payloads of the messages of orientation in an SEI unit."""
    position = 0
    while position + 2 < len(body):
        values = []
        for _ in range(2):  # type and size: each the sum of bytes up to one that is not 255
            value = 0
            while position < len(body):
                value, position = value + body[position], position + 1
                if body[position - 1] != 255:
                    break
            values.append(value)
        if values[0] == DISPLAY_ORIENTATION:
            yield body[position : position + values[1]]
        position += values[1]


def _holds(payload: bytes) -> bool:
    """Whether a message is for later pictures too: no cancellation, and a repetition period that is not 0."""
    bits = "".join(f"{byte:08b}" for byte in payload[:4])
    return bits[:1] == "0" and bits[19:20] == "0"  # period 0 is a single 1 after cancel, two flips, 16 bits of angle
