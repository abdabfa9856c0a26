"""What the boxes of an MP4 / QuickTime file say before any decoder sees it: where it ends, what is encrypted."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

KNOWN = set(b"ftyp moov mdat free skip wide moof mfra sidx styp uuid meta pdin".split())
STARTS = set(b"ftyp moov mdat wide styp free skip".split())
ENCRYPTED = set(b"encv enca drmi drms".split())
MAX_BOXES = 4096  # looked at in one box: a hostile file may hold millions


def cut_short(path: Path, size: int) -> str:
    """Why a file of `size` bytes ends too early; '' where it does not, or where it is not made of boxes."""
    seen: set[bytes] = set()
    with open(path, "rb") as handle:
        for kind, body, end in _boxes(handle, 0, size):
            if not seen and kind not in STARTS:
                return ""
            if kind not in KNOWN:
                break
            if end < body:
                return ""
            seen.add(kind)
            if end > size:
                return f"box {kind.decode()} is {end - size} bytes longer than the file"
    if b"ftyp" in seen and not seen & {b"moov", b"moof"}:
        return "the moov box is lacking"
    return ""


def encrypted_entry(path: Path, handler: str) -> str:
    """The name of an encrypted sample entry of the first track of `handler` (`vide` or `soun`), '' without one."""
    with open(path, "rb") as handle:
        size = handle.seek(0, 2)
        first = next(_boxes(handle, 0, size), None)
        if first is None or first[0] not in STARTS:
            return ""
        for moov in _inside(handle, [(0, size)], b"moov"):
            for track in _inside(handle, [moov], b"trak"):
                media = list(_inside(handle, [track], b"mdia"))
                if not any(
                    _read(handle, body + 8, 4) == handler.encode() for body, _ in _inside(handle, media, b"hdlr")
                ):
                    continue
                tables = _inside(handle, _inside(handle, _inside(handle, media, b"minf"), b"stbl"), b"stsd")
                entries = [kind for body, end in tables for kind, _, _ in _boxes(handle, body + 8, end)]
                return next((kind.decode() for kind in entries if kind in ENCRYPTED), "")
    return ""


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
