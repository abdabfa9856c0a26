"""One clip, decoded: its frames and its log-mel spectrogram on one clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np

from avprep import timing
from avprep.config import BuildConfig, Limits
from avprep.errors import ClipError
from avprep.media import decoders
from avprep.media.audio import AudioTrack, Wanted, read_audio
from avprep.media.logmel import log_mel
from avprep.media.probe import Header, first_words
from avprep.timing import Span

END_TOLERANCE_SECONDS = 0.5
END_TOLERANCE_SHARE = 0.1


@dataclass(frozen=True)
class DecodedClip:
    """frames uint8 [T, H, W, 3] or None for a sound-only clip; logmel float16 [F, M]; times in file seconds."""

    frames: np.ndarray | None
    logmel: np.ndarray
    span: Span
    video_start: Fraction | None
    audio_start: Fraction
    decoder: str

    @property
    def av_offset_seconds(self) -> float:
        """How much later the sound starts than the picture, before both were cut to what they share."""
        return 0.0 if self.video_start is None else float(self.audio_start - self.video_start)


def decode_clip(
    video_path: Path | None,
    audio_path: Path | None,
    start_seconds: float | None,
    end_seconds: float | None,
    config: BuildConfig,
    limits: Limits,
) -> DecodedClip:
    """Decode the span in which all tracks exist, cut to start_seconds / end_seconds.

    `audio_path` None means the sound of `video_path`; `video_path` None a sound-only clip. Errors: ClipError, the
    first decoder's where several are tried; MemoryError.
    """
    first_error: ClipError | None = None
    for name in decoders.names(config.decoder):
        try:
            with decoder_errors():
                return _decode(name, video_path, audio_path, start_seconds, end_seconds, config, limits)
        except ClipError as error:
            first_error = first_error or error
            if error.reason not in decoders.SECOND_CHANCE:
                break
    assert first_error is not None
    raise first_error


def _decode(
    name: str,
    video_path: Path | None,
    audio_path: Path | None,
    start_seconds: float | None,
    end_seconds: float | None,
    config: BuildConfig,
    limits: Limits,
) -> DecodedClip:
    sound_path = audio_path or video_path
    if sound_path is None:
        raise ValueError("a clip needs a path")
    decoder = decoders.decoder(name)
    longest = limits.max_clip_seconds + (start_seconds or 0.0)
    begin, stop = timing.as_seconds(start_seconds) or Fraction(0), timing.as_seconds(end_seconds)
    with contextlib.ExitStack() as files:
        video = files.enter_context(decoder.open_pictures(video_path, config.video, limits)) if video_path else None
        sound = files.enter_context(decoder.open_sound(sound_path, limits, config.audio.downmix))
        _check_length([sound.header, *([video.header] if video else [])], end_seconds, longest)
        wanted = Wanted(
            limit_seconds=longest,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            other_start=video.start if video else None,
        )
        audio = read_audio(sound, config.audio.sample_rate_hz if config.audio.resample else None, wanted)
        tracks = [audio.span]
        frames = None
        if video:
            origin = min(video.start, audio.span.start)
            start = max(video.start, audio.span.start, origin + begin)
            last = None if stop is None else origin + stop
            frames, video_end = video.sample(start, audio.span.end, last, longest)
            tracks.insert(0, Span(video.start, video_end))
        check_end(sound.header.end_seconds, max(track.end for track in tracks), end_seconds)
    span = timing.cut(tracks, start_seconds, end_seconds)
    if frames is not None:
        frames = frames[: timing.frame_count(span.duration, config.video.frame_rate_hz)]
        if not len(frames):
            raise ClipError("too-short", f"{float(span.duration):.3f} s hold no frame")
    logmel = _log_mel(audio, span, config, limits)
    return DecodedClip(frames, logmel, span, video.start if video else None, audio.span.start, name)


@contextlib.contextmanager
def decoder_errors() -> Iterator[None]:
    """FFmpeg's own errors as ClipError not-media; lack of memory stays what it is."""
    try:
        yield
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise ClipError("not-media", first_words(error)) from None


def _log_mel(audio: AudioTrack, span: Span, config: BuildConfig, limits: Limits) -> np.ndarray:
    if span.duration > limits.max_clip_seconds:
        raise ClipError("too-long", f"{float(span.duration):.1f} s, the limit is {limits.max_clip_seconds:g} s")
    samples = audio.window(span)
    if not len(samples):
        raise ClipError("too-short", f"{float(span.duration):.3f} s hold no sound")
    return log_mel(samples, config.audio)


def _check_length(headers: list[Header], end_seconds: float | None, longest: float) -> None:
    """Too-long where the tracks' headers say so of a clip without an end, before anything is decoded."""
    lengths = [header.track_seconds for header in headers if header.track_seconds is not None]
    if end_seconds is None and len(lengths) == len(headers) and min(lengths) > longest:
        raise ClipError("too-long", f"{min(lengths):.1f} s by its header, the limit is {longest:g} s")


def check_end(declared: float | None, decoded: Fraction, end_seconds: float | None) -> None:
    """Truncated where the media stops well before the header's end and before the wanted cut."""
    if declared is None:
        return
    wanted = declared if end_seconds is None else min(declared, end_seconds)
    if float(decoded) < wanted - END_TOLERANCE_SECONDS - END_TOLERANCE_SHARE * wanted:
        raise ClipError("truncated", f"media ends at {float(decoded):.2f} s of {declared:.2f} s")
