"""The boxes of an MP4 / QuickTime file, read before any decoder sees it: where it ends, what is encrypted."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

MEDIA = set(b"ftyp moov mdat moof mfra sidx styp meta pdin".split())
PADDING = set(b"free skip wide uuid".split())
ENCRYPTED = set(b"encv enca drmi drms".split())
ENABLED = 1  # of a track header's flags
MAX_BOXES = 4096  # looked at in one box: a hostile file may hold millions


def cut_short(path: Path, size: int) -> str:
    """Why a file of `size` bytes ends too early; '' where it does not, or where it is not made of boxes.

    As in FFmpeg, boxes of unknown kinds are passed over, wherever they lie.
    """
    kinds: set[bytes] = set()
    with open(path, "rb") as handle:
        for kind, body, end in _boxes(handle, 0, size):
            if end > size and (kind in MEDIA or (kind in PADDING and not {b"moov", b"mdat"} <= kinds)):
                return f"box {kind.decode()} is {end - size} bytes longer than the file"
            if end < body:
                break
            kinds.add(kind)
    return ""


def without_index(path: Path, size: int) -> str:
    """Why FFmpeg opens no file of `size` bytes that begins as MP4 and ends before its moov; '' of any other file."""
    with open(path, "rb") as handle:
        kinds = {kind for kind, _, end in _boxes(handle, 0, size) if end <= size}
    return "the moov box is missing" if b"ftyp" in kinds and not kinds & {b"moov", b"moof"} else ""


def encrypted_entry(path: Path, handler: str) -> str:
    """The name of an encrypted sample entry of the track of `handler` (`vide` or `soun`), '' without one.

    Of several tracks it is the first that is enabled, as probe.chosen has it.
    """
    with open(path, "rb") as handle:
        tracks = _tracks(handle, handler)
        media = next((media for enabled, media in tracks if enabled), tracks[0][1] if tracks else [])
        tables = _inside(handle, _inside(handle, _inside(handle, media, b"minf"), b"stbl"), b"stsd")
        entries = [kind for body, end in tables for kind, _, _ in _boxes(handle, body + 8, end)]
    return next((kind.decode() for kind in entries if kind in ENCRYPTED), "")


def _tracks(handle: BinaryIO, handler: str) -> list[tuple[bool, list[tuple[int, int]]]]:
    """(whether it is enabled, its boxes mdia) of each track of `handler`."""
    tracks = []
    for track in _inside(handle, _inside(handle, [(0, handle.seek(0, 2))], b"moov"), b"trak"):
        media = _inside(handle, [track], b"mdia")
        if any(_read(handle, body + 8, 4) == handler.encode() for body, _ in _inside(handle, media, b"hdlr")):
            flags = [_read(handle, body + 3, 1) for body, _ in _inside(handle, [track], b"tkhd")]
            tracks.append((any(flag and flag[0] & ENABLED for flag in flags), media))
    return tracks


def second_movie(path: Path, size: int) -> int | None:
    """The byte where another recording begins in a file of `size` bytes: a second movie, or fragments of earlier times.

    A second movie with fragments that go on in time is the same recording's.
    """
    kinds: set[bytes] = set()
    second: int | None = None
    times: dict[bytes, int] = {}
    with open(path, "rb") as handle:
        for kind, body, end in _boxes(handle, 0, size):
            if kind == b"ftyp" and b"moov" in kinds:
                second = body - 8
            if kind == b"moov" and second is not None and b"moof" not in kinds:
                return second
            for track, time in _fragment_times(handle, body, min(end, size)) if kind == b"moof" else ():
                latest = times.get(track, -1)
                if time < latest or (time == latest and second is not None):
                    return body - 8 if second is None else second
                times[track] = time
            kinds.add(kind)
    return None


def _fragment_times(handle: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int]]:
    """(id, first decoding time in units of the track) of each track in a box moof."""
    for fragment in _inside(handle, [(start, stop)], b"traf"):
        ids = [_read(handle, body + 4, 4) for body, _ in _inside(handle, [fragment], b"tfhd")]
        times = [_read(handle, body, 12) for body, _ in _inside(handle, [fragment], b"tfdt")]
        for track, time in zip(ids, times, strict=False):
            yield track, int.from_bytes(time[4:12] if time[:1] == b"\1" else time[4:8], "big")


def _inside(handle: BinaryIO, spans: list[tuple[int, int]], wanted: bytes) -> list[tuple[int, int]]:
    """(body, end) of every box `wanted` that lies directly in one of `spans`."""
    return [
        (body, min(end, stop))
        for start, stop in spans
        for kind, body, end in islice(_boxes(handle, start, stop), MAX_BOXES)
        if kind == wanted
    ]


def _boxes(handle: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the body, end) of the boxes between two positions; a box shorter than its header is the last."""
    while start + 8 <= stop:
        header = _read(handle, start, 16)
        length, kind = struct.unpack(">I4s", header[:8])
        body = start + 8
        if length == 1 and len(header) == 16:
            length, body = struct.unpack(">Q", header[8:16])[0], start + 16
        end = stop if length == 0 else start + length
        yield kind, body, end
        if end < body:
            return
        start = end


def _read(handle: BinaryIO, position: int, count: int) -> bytes:
    handle.seek(position)
    return handle.read(count)
