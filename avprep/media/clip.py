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
from avprep.media.audio import AudioTrack, read_audio
from avprep.media.logmel import log_mel
from avprep.media.probe import first_words, open_media
from avprep.media.video import VideoTrack
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

    `audio_path` None means the sound of `video_path`; `video_path` None a sound-only clip. Errors: ClipError;
    MemoryError.
    """
    sound_path = audio_path or video_path
    if sound_path is None:
        raise ValueError("a clip needs a path")
    longest = limits.max_clip_seconds + (start_seconds or 0.0)
    with _decoder_errors(), contextlib.ExitStack() as files:
        if video_path is not None:
            pictures = files.enter_context(open_media(video_path, limits))
            if not pictures.streams.video:
                raise ClipError("no-video", "no video track")
        container = files.enter_context(open_media(sound_path, limits))
        audio = read_audio(container, config.audio.sample_rate_hz, longest, end_seconds)
        declared = _declared_end(container)
        if video_path is None:
            span = timing.cut([audio.span], start_seconds, end_seconds)
            _check_end(declared, audio.span.end, end_seconds)
            return DecodedClip(None, _sound(audio, span, config, limits), span, None, audio.span.start)
        video = VideoTrack(pictures, limits)
        origin = min(video.start, audio.span.start)
        start = max(video.start, audio.span.start, origin + (timing.as_seconds(start_seconds) or 0))
        stop = timing.as_seconds(end_seconds)
        frames, video_end = video.sample(start, None if stop is None else origin + stop, config.video)
        _check_end(declared, max(audio.span.end, video_end), end_seconds)
    span = timing.cut([Span(video.start, video_end), audio.span], start_seconds, end_seconds)
    frames = frames[: timing.frame_count(span.duration, config.video.frame_rate_hz)]
    if not len(frames):
        raise ClipError("too-short", f"{float(span.duration):.3f} s hold no frame")
    return DecodedClip(frames, _sound(audio, span, config, limits), span, video.start, audio.span.start)


@contextlib.contextmanager
def _decoder_errors() -> Iterator[None]:
    """FFmpeg's own errors as ClipError not-media; lack of memory stays what it is."""
    try:
        yield
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise ClipError("not-media", first_words(error)) from None


def _sound(audio: AudioTrack, span: Span, config: BuildConfig, limits: Limits) -> np.ndarray:
    if span.duration > limits.max_clip_seconds:
        raise ClipError("too-long", f"{float(span.duration):.1f} s, the limit is {limits.max_clip_seconds:g} s")
    samples = audio.window(span)
    if not len(samples):
        raise ClipError("too-short", f"{float(span.duration):.3f} s hold no sound")
    return log_mel(samples, config.audio)


def _declared_end(container: av.container.InputContainer) -> float | None:
    """The end that the container's header gives, in file seconds."""
    if not container.duration or container.duration < 0:
        return None
    return (container.duration + max(container.start_time or 0, 0)) / av.time_base


def _check_end(declared: float | None, decoded: Fraction, end_seconds: float | None) -> None:
    """Truncated where the media stops well before the header's end and before the wanted cut."""
    if declared is None:
        return
    wanted = declared if end_seconds is None else min(declared, end_seconds)
    if float(decoded) < wanted - END_TOLERANCE_SECONDS - END_TOLERANCE_SHARE * wanted:
        raise ClipError("truncated", f"media ends at {float(decoded):.2f} s of {declared:.2f} s")
