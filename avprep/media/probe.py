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
from avprep.media import boxes, joined, wav

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
GUESSING = {"aac", "aiff", "amr", "caf", "flac", "mp3", "w64", "wav"}  # without the length in a file, FFmpeg guesses
GUESSED = "Estimating duration from bitrate"
WHOLE_FILE = {"asf"}  # FFmpeg gives each track the file's length


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a container claims about one track, in seconds; None where it gives nothing."""

    track_seconds: float | None = None
    end_seconds: float | None = None
    """where the track ends at the earliest, on the file's own clock"""
    of_file: bool = False
    """whether `end_seconds` is the whole file's and may be another track's"""
    track: int | None = None
    """number of the track in the file"""


def silence() -> None:
    """Stop the decoders from writing to standard error; what matters comes back as an error."""
    av.logging.set_level(av.logging.PANIC)


def check_file(path: Path, limits: Limits, track: str) -> None:
    """Refuse what needs no decoder to be refused; `track` is `vide` or `soun`, what is wanted of the file.

    Errors: ClipError missing, empty, too-large, truncated, encrypted, clock-restarts, io.
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
        second = joined.second_start(path, size)
    except FileNotFoundError:
        raise ClipError("missing", "no such file") from None
    except OSError as error:
        raise ClipError("io", error.strerror or "read error") from None
    if cut_short:
        raise ClipError("truncated", cut_short)
    if encrypted:
        raise ClipError("encrypted", f"sample entry {encrypted}")
    if second:
        raise ClipError("clock-restarts", f"a second recording begins at byte {second}")


def open_media(path: Path, limits: Limits, track: str) -> InputContainer:
    """An open container. Errors: ClipError of check_file, truncated, not-media."""
    check_file(path, limits, track)
    try:
        source = wav.corrected(path) or f"file:{path.absolute()}"
        return av.open(source, "r", metadata_errors="ignore", options=input_options(limits))
    except (av.error.FFmpegError, ValueError) as error:
        without_index = boxes.without_index(path, os.stat(path).st_size)
        raise ClipError("truncated" if without_index else "not-media", without_index or first_words(error)) from None


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
    candidates = tracks(container, kind)
    if not candidates:
        raise ClipError(f"no-{kind}", f"no {kind} track")
    stream = max(candidates, key=_rank)
    if stream.codec_context is None:
        raise ClipError(f"no-{kind}", "no decoder knows its track")
    return stream


def tracks(container: InputContainer, kind: str) -> list[Stream]:
    """All tracks of `kind`, in the file's order; covers are no video."""
    return [s for s in container.streams if s.type == kind and not s.disposition & Disposition.attached_pic]


def _rank(stream: Stream) -> int:
    return bool(stream.disposition & Disposition.default) + (not stream.disposition & IMPAIRED)


def header(container: InputContainer, stream: Stream) -> Header:
    """What the container claims about `stream`, if anything: FFmpeg's guess from a bit rate is no claim.

    Where a file starts late, some writers give its end for its length: what is claimed is the less of the two.
    """
    name = container.format.name
    counted = name in ("aiff", "wav") and stream.codec_context.name.startswith(
        "pcm_"
    )  # opened again slowly, for nothing
    if name in GUESSING and not counted and container.name.startswith("file:") and _guessed(container):
        return Header()
    unit = Fraction(stream.time_base or 0)
    whole = Fraction(max(container.duration or 0, 0), av.time_base)
    length = unit * max(stream.duration or 0, 0) if name not in WHOLE_FILE else Fraction(0)
    length = length or min(_tagged_seconds(stream), whole)
    start = unit * stream.start_time if stream.start_time else Fraction(0)
    claimed = length or whole
    if not claimed:
        return Header()
    alone = length > 0 or len(container.streams) <= len({one.type for one in container.streams} & {"audio", "video"})
    seconds = claimed - start if 0 < start < claimed else claimed
    return Header(
        track_seconds=float(seconds) if alone else None,
        end_seconds=float(claimed + min(start, Fraction(0))),
        of_file=not length,
        track=stream.index,
    )


def ends_elsewhere(path: Path, limits: Limits, used: set[int | None], seconds: float) -> bool:
    """Whether a packet of another track than those `used` ends at `seconds` or later. Cost: reading the file."""
    with open_media(path, limits, "") as container:
        try:
            for packet in container.demux([one for one in container.streams if one.index not in used]):
                if packet.pts is not None and (packet.pts + (packet.duration or 0)) * packet.time_base >= seconds:
                    return True
        except av.error.FFmpegError:
            return False
    return False


def _guessed(container: InputContainer) -> bool:
    """Whether FFmpeg makes up the length from size and bit rate: only its log shows it."""
    with decoder_log(av.logging.WARNING) as lines:
        av.open(container.name, metadata_errors="ignore", options=container.options).close()
    return any(GUESSED in line for _, _, line in lines)


def _tagged_seconds(stream: Stream) -> Fraction:
    """The track's end or length by its Matroska tag, 0 where it has none."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    hours, minutes, seconds = map(Fraction, match.groups()) if match else (Fraction(0),) * 3
    return 3600 * hours + 60 * minutes + seconds


@contextlib.contextmanager
def decoder_log(level: int = av.logging.ERROR) -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg logs in this thread meanwhile, repeated lines too; nothing is written to standard error."""
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(level)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=True) as lines:
            yield lines
    finally:
        av.logging.set_level(before[0])
        av.logging.set_skip_repeated(before[1])


def refused_pixels(log: list[tuple[int, str, str]], limits: Limits) -> str:
    """WxH where a decoder refused a picture for its size, else ''; only its log shows it."""
    for _, _, line in log:
        for width, height in re.findall(r"\b(\d{1,9})x(\d{1,9})\b", line):
            if int(width) * int(height) > limits.max_pixels:
                return f"{width}x{height}"
    return ""


def first_words(error: BaseException) -> str:
    """The words of a decoder's error, without the path that it names."""
    text = getattr(error, "strerror", None) or str(error)
    return text.split(";")[0].split(": '")[0][:120]
