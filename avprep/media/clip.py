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

from avprep.config import BuildConfig, Limits
from avprep.errors import ClipError
from avprep.media import decoders, timing
from avprep.media.audio import AudioTrack, Wanted, read_audio
from avprep.media.logmel import log_mel
from avprep.media.probe import Header, ends_elsewhere, first_words
from avprep.media.timing import Span

END_TOLERANCE_SECONDS = 0.5
END_TOLERANCE_SHARE = 0.1


@dataclass(frozen=True)
class DecodedClip:
    """frames uint8 [T, H, W, 3] or None for a sound-only clip; logmel float16 [F, M]; times in file seconds.

    samples float32 [N] is the mono sound that the log-mel is of.
    """

    frames: np.ndarray | None
    logmel: np.ndarray
    span: Span
    video_start: Fraction | None
    audio_start: Fraction
    decoder: str
    samples: np.ndarray

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
        ends = {sound_path: [(sound.header, audio.span.end)]}
        frames = None
        origin = min(video.start, audio.span.start) if video else audio.span.start
        last = None if stop is None else origin + stop
        if video and video_path:
            start = max(video.start, audio.span.start, origin + begin)
            frames, video_end = video.sample(start, audio.span.end, last, longest)
            tracks.insert(0, Span(video.start, video_end))
            ends.setdefault(video_path, []).append((video.header, video_end))
        for path, used in ends.items():
            check_end(path, limits, used, last)
    span = timing.cut(tracks, start_seconds, end_seconds)
    if frames is not None:
        frames = frames[: timing.frame_count(span.duration, config.video.frame_rate_hz)]
        if not len(frames):
            raise ClipError("too-short", f"{float(span.duration):.3f} s hold no frame")
    samples = _samples(audio, span, limits)
    logmel = log_mel(samples, config.audio)
    return DecodedClip(frames, logmel, span, video.start if video else None, audio.span.start, name, samples)


@contextlib.contextmanager
def decoder_errors() -> Iterator[None]:
    """FFmpeg's own errors as ClipError not-media; a MemoryError stays one."""
    try:
        yield
    except MemoryError:
        raise
    except av.error.PatchWelcomeError:
        raise ClipError("clock-restarts", "the tracks of an Ogg file begin again on the way") from None
    except av.error.FFmpegError as error:
        raise ClipError("not-media", first_words(error)) from None


def _samples(audio: AudioTrack, span: Span, limits: Limits) -> np.ndarray:
    if span.duration > limits.max_clip_seconds:
        raise ClipError("too-long", f"{float(span.duration):.1f} s, the limit is {limits.max_clip_seconds:g} s")
    samples = audio.window(span)
    if not len(samples):
        raise ClipError("too-short", f"{float(span.duration):.3f} s hold no sound")
    return samples


def _check_length(headers: list[Header], end_seconds: float | None, longest: float) -> None:
    """Raise ClipError too-long, before anything is decoded, for a clip without an end whose tracks are too long."""
    lengths = [header.track_seconds for header in headers if header.track_seconds is not None]
    if end_seconds is None and len(lengths) == len(headers) and min(lengths) > longest:
        raise ClipError("too-long", f"{min(lengths):.1f} s by its header, the limit is {longest:g} s")


def check_end(path: Path, limits: Limits, used: list[tuple[Header, Fraction]], stop: Fraction | None) -> None:
    """Truncated where all tracks used of a file stop well before the end that a header claims, and before `stop`.

    `used` has each track's header and where its media end; times are the file's. What may be another track's end is
    held against that track's packets.
    """
    decoded = float(max(end for _, end in used))
    for header, _ in used:
        if header.end_seconds is None:
            continue
        wanted = header.end_seconds if stop is None else min(header.end_seconds, float(stop))
        enough = wanted - END_TOLERANCE_SECONDS - END_TOLERANCE_SHARE * max(wanted, 0.0)
        if decoded >= enough or (header.of_file and ends_elsewhere(path, limits, {h.track for h, _ in used}, enough)):
            continue
        raise ClipError("truncated", f"media ends at {decoded:.2f} s of {header.end_seconds:.2f} s")
