"""Decides whether a file may be opened, and opens it. Nothing else in avprep opens media for decoding.

A file is opened by absolute path with the `file:` prefix, the file protocol alone and a fixed list of container
formats, so that no playlist, concat script or image pattern posing as media reads another file or address. Pictures
above the pixel limit are refused before their memory is asked for.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import av.logging
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from avprep.config import Limits
from avprep.errors import ClipError
from avprep.media import boxes, wav

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
IMPAIRED = Disposition.hearing_impaired | Disposition.visual_impaired
GUESSING = {"aac", "amr", "mp3"}  # their length may be a guess from the first packets' bit rate


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a container claims about one track, in seconds; None where it does not say."""

    track_seconds: float | None = None
    end_seconds: float | None = None
    """where the whole file ends, on its own clock"""


def silence() -> None:
    """Stop the decoders from writing to standard error; what matters comes back as an error."""
    av.logging.set_level(av.logging.PANIC)


def check_file(path: Path, limits: Limits, track: str) -> None:
    """Refuse what needs no decoder to be refused; `track` is `vide` or `soun`, what is wanted of the file.

    Errors: ClipError missing, empty, too-large, truncated, encrypted, io.
    """
    try:
        size = os.stat(path).st_size
        if not path.is_file():
            raise ClipError("missing", "not a regular file")
        if size == 0:
            raise ClipError("empty", "0 bytes")
        if size > limits.max_file_bytes:
            raise ClipError("too-large", f"{size} bytes, the limit is {limits.max_file_bytes}")
        cut_short = boxes.cut_short(path, size)
        encrypted = boxes.encrypted_entry(path, track)
    except FileNotFoundError:
        raise ClipError("missing", "no such file") from None
    except OSError as error:
        raise ClipError("io", error.strerror or "read error") from None
    if cut_short:
        raise ClipError("truncated", cut_short)
    if encrypted:
        raise ClipError("encrypted", f"sample entry {encrypted}")


def open_media(path: Path, limits: Limits, track: str) -> InputContainer:
    """An open container. Errors: ClipError of check_file, truncated, not-media."""
    check_file(path, limits, track)
    try:
        source = wav.corrected(path) or f"file:{path.absolute()}"
        return av.open(source, metadata_errors="ignore", options=input_options(limits))
    except (av.error.FFmpegError, ValueError) as error:
        lacking = boxes.without_index(path, os.stat(path).st_size)
        raise ClipError("truncated" if lacking else "not-media", lacking or first_words(error)) from None


def input_options(limits: Limits) -> dict[str, str]:
    """FFmpeg's options for any file from outside, the same for the library and for the child process."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(FORMATS),
        "max_pixels": str(limits.max_pixels),
    }


def video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """The track of pictures that players show: see `chosen`. Errors: ClipError no-video, too-large."""
    stream = cast(VideoStream, chosen(container, "video"))
    if stream.width * stream.height > limits.max_pixels:
        raise ClipError("too-large", f"{stream.width}x{stream.height} pixels, the limit is {limits.max_pixels}")
    return stream


def audio_stream(container: InputContainer) -> AudioStream:
    """The sound track that players play: see `chosen`. Errors: ClipError no-audio."""
    return cast(AudioStream, chosen(container, "audio"))


def chosen(container: InputContainer, kind: str) -> Stream:
    """The track of `kind` (`video`, `audio`) that is marked as default, and not for people who cannot see or hear.

    The first of several, or of those that come nearest: FFmpeg's av_find_best_stream begins with the same two marks.
    Errors: ClipError no-video, no-audio.
    """
    found = tracks(container, kind)
    if not found:
        raise ClipError(f"no-{kind}", f"no {kind} track")
    stream = max(found, key=_rank)
    if stream.codec_context is None:
        raise ClipError(f"no-{kind}", "no decoder knows its track")
    return stream


def tracks(container: InputContainer, kind: str) -> list[Stream]:
    """All tracks of `kind`, in the file's order; covers are no video."""
    return [s for s in container.streams if s.type == kind and not s.disposition & Disposition.attached_pic]


def _rank(stream: Stream) -> int:
    return bool(stream.disposition & Disposition.default) + (not stream.disposition & IMPAIRED)


def header(container: InputContainer, stream: Stream) -> Header:
    """What the container claims about `stream`."""
    whole = max(container.duration or 0, 0) / av.time_base
    start = max(container.start_time or 0, 0) / av.time_base
    if container.format.name.startswith("matroska"):  # some writers put the end there for the length: take the less
        end, whole = whole, whole - start
    else:
        end = start + whole
    length = stream.duration * stream.time_base if stream.duration and stream.time_base else Fraction(0)
    seconds = float(length) if length > 0 else whole
    known = seconds > 0 and container.format.name not in GUESSING
    return Header(track_seconds=seconds if known else None, end_seconds=end if whole > 0 else None)


@contextlib.contextmanager
def decoder_log() -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg says of errors in this thread meanwhile; nothing is written to standard error."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as lines:
            yield lines
    finally:
        av.logging.set_level(before)


def refused_pixels(log: list[tuple[int, str, str]], limits: Limits) -> str:
    """WxH where a decoder refused a picture for its size, else ''; only its log tells."""
    for _, _, line in log:
        for width, height in re.findall(r"\b(\d{1,9})x(\d{1,9})\b", line):
            if int(width) * int(height) > limits.max_pixels:
                return f"{width}x{height}"
    return ""


def first_words(error: BaseException) -> str:
    """What a decoder's error says, without the path that it names."""
    text = getattr(error, "strerror", None) or str(error)
    return text.split(";")[0].split(": '")[0][:120]
