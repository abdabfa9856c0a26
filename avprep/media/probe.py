"""Decides whether a file may be opened, and opens it. Nothing else in avprep opens media for decoding.

A file is opened by absolute path with the `file:` prefix, the file protocol alone and a fixed list of container
formats, so that no playlist, concat script or image pattern posing as media reads another file or address.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import av
import av.error
import av.logging
from av.stream import Stream

from avprep.config import Limits
from avprep.errors import ClipError

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "avi",
    "mpeg",
    "mpegts",
    "flv",
    "asf",
    "ogg",
    "wav",
    "w64",
    "flac",
    "mp3",
    "aac",
    "amr",
    "aiff",
    "caf",
)
ISO_BOXES = {
    b"ftyp",
    b"moov",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"moof",
    b"mfra",
    b"sidx",
    b"styp",
    b"uuid",
    b"meta",
    b"pdin",
}
ENCRYPTED_TAGS = {"encv", "enca", "drmi", "drms"}
ISO_STARTS = {b"ftyp", b"moov", b"mdat", b"wide", b"styp", b"free", b"skip"}


def silence() -> None:
    """Stop the decoders from writing to standard error; what matters comes back as an error."""
    av.logging.set_level(av.logging.PANIC)


def open_media(path: Path, limits: Limits) -> av.container.InputContainer:
    """An open container. Errors: ClipError missing, empty, too-large, truncated, not-media, io."""
    try:
        size = os.stat(path).st_size
        if not path.is_file():
            raise ClipError("missing", "not a regular file")
        if size == 0:
            raise ClipError("empty", "0 bytes")
        if size > limits.max_file_bytes:
            raise ClipError("too-large", f"{size} bytes, the limit is {limits.max_file_bytes}")
        cut_short = _iso_cut_short(path, size)
    except FileNotFoundError:
        raise ClipError("missing", "no such file") from None
    except OSError as error:
        raise ClipError("io", error.strerror or "read error") from None
    if cut_short:
        raise ClipError("truncated", cut_short)
    try:
        return av.open(
            f"file:{path.absolute()}",
            metadata_errors="ignore",
            options={"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)},
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise ClipError("not-media", first_words(error)) from None


def checked_stream(stream: Stream, lacking: str) -> Stream:
    """The stream, if a decoder knows its codec. Errors: ClipError encrypted, or `lacking` (no-video, no-audio)."""
    if stream.codec_context is None:
        raise ClipError(lacking, "no decoder knows its track")
    if stream.codec_context.codec_tag in ENCRYPTED_TAGS:
        raise ClipError("encrypted", f"sample entry {stream.codec_context.codec_tag}")
    return stream


def _iso_cut_short(path: Path, size: int) -> str:
    """Why an MP4 / QuickTime file ends too early, by a walk over its top-level boxes; '' where it does not."""
    seen: set[bytes] = set()
    position = 0
    with open(path, "rb") as handle:
        while position + 8 <= size:
            handle.seek(position)
            header = handle.read(16)
            length, kind = struct.unpack(">I4s", header[:8])
            if position == 0 and kind not in ISO_STARTS:
                return ""
            if kind not in ISO_BOXES:
                break
            seen.add(kind)
            if length == 1 and len(header) == 16:
                length = struct.unpack(">Q", header[8:16])[0]
            if length == 0:
                break
            if length < 8:
                return ""
            if position + length > size:
                return f"box {kind.decode()} is {position + length - size} bytes longer than the file"
            position += length
    if b"ftyp" in seen and not seen & {b"moov", b"moof"}:
        return "the moov box is lacking"
    return ""


def first_words(error: BaseException) -> str:
    """What a decoder's error says, without the path that it names."""
    text = getattr(error, "strerror", None) or str(error)
    return text.split(";")[0].split(": '")[0][:120]
