"""The sound of a file as one mono float32 track at one rate, on the file's own clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from avprep import timing
from avprep.errors import ClipError
from avprep.media import probe
from avprep.timing import Span, sample_count

GAP_SECONDS = Fraction(1, 20)
GROWTH_SAMPLES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Sound:
    """An open container whose first sound track is to be read; `zero` is its time of file time 0."""

    container: InputContainer
    header: probe.Header
    zero: Fraction = Fraction(0)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What of a track is asked for: from / to seconds after its file's first track starts; at most `limit_seconds`."""

    limit_seconds: float
    start_seconds: float | None = None
    end_seconds: float | None = None
    other_start: Fraction | None = None
    """where the file's other track starts, if it has one"""


@dataclass(frozen=True)
class AudioTrack:
    """Mono samples float32 [N] at `rate_hz` of a track that lies at `span` in file seconds.

    The first sample is number `first_sample` of the track: what comes before the wanted cut is not kept.
    """

    samples: np.ndarray
    rate_hz: int
    span: Span
    first_sample: int = 0

    def window(self, span: Span) -> np.ndarray:
        """Samples float32 [floor(rate * duration)] from span.start on, silence where the track has none."""
        count = sample_count(span.duration, self.rate_hz)
        first = round((span.start - self.span.start) * self.rate_hz) - self.first_sample
        if first >= 0 and first + count <= len(self.samples):
            return self.samples[first : first + count]
        out = np.zeros(count, np.float32)
        part = self.samples[max(first, 0) : max(first + count, 0)]
        offset = max(-first, 0)
        out[offset : offset + len(part)] = part
        return out


def read_audio(sound: Sound, rate_hz: int | None, wanted: Wanted) -> AudioTrack:
    """The first audio stream, decoded once and resampled by swresample; gaps over 50 ms become silence.

    `rate_hz` None keeps the rate of its first samples. Decoding stops `end_seconds` after the track's start. Errors:
    ClipError no-audio; too-long where the track exceeds `limit_seconds` before that.
    """
    stream = probe.audio_stream(sound.container)
    stream.codec_context.thread_type = "NONE"
    kept: _Kept | None = None
    resampler: AudioResampler | None = None
    expected: Fraction | None = None
    shape: object = None
    for frame in _frames(sound.container, stream):
        time = _time(frame, expected, sound.zero)
        if kept is None:
            kept = _Kept(time, rate_hz or frame.sample_rate, wanted)
        if wanted.end_seconds is not None and time - kept.start >= wanted.end_seconds:
            break
        if time - kept.start > wanted.limit_seconds:
            raise ClipError("too-long", f"sound beyond {wanted.limit_seconds:g} s")
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or expected is None or now != shape or abs(time - expected) > GAP_SECONDS:
            kept.take(resampler, None)
            resampler, shape = AudioResampler(format="fltp", layout="mono", rate=kept.rate_hz), now
            kept.move_to(time)
            expected = time
        expected += Fraction(frame.samples, frame.sample_rate)
        frame.pts = None
        kept.take(resampler, frame)
    if kept is None or expected is None:
        raise ClipError("no-audio", "no sound could be decoded")
    kept.take(resampler, None)
    return AudioTrack(kept.samples(), kept.rate_hz, Span(kept.start, max(expected, kept.start)), kept.first)


class _Kept:
    """Samples at their places in one array that grows in place; those before the wanted cut are let go.

    Sound that is stamped earlier than the track's first sample is let go as well.
    """

    def __init__(self, start: Fraction, rate_hz: int, wanted: Wanted) -> None:
        self.start, self.rate_hz = start, rate_hz
        origin = start if wanted.other_start is None else min(start, wanted.other_start)
        cut = timing.as_seconds(wanted.start_seconds) or Fraction(0)
        self.first = max(int((origin + cut - start) * rate_hz), 0)
        self._array = np.zeros(0, np.float32)
        self._position = self._end = 0
        self._any = False

    def move_to(self, time: Fraction) -> None:
        """Put what comes next at file time `time`."""
        self._position = round((time - self.start) * self.rate_hz) - self.first

    def take(self, resampler: AudioResampler | None, frame: AudioFrame | None) -> None:
        """Append what the resampler makes of `frame`, or of its end (None)."""
        for out in resampler.resample(frame) if resampler else ():
            piece = out.to_ndarray()[0]
            self._any = True
            begin, end = self._position, self._position + len(piece)
            self._position = end
            if end > len(self._array):
                self._array.resize(-(-end // GROWTH_SAMPLES) * GROWTH_SAMPLES, refcheck=False)
            if end > 0:
                self._array[max(begin, 0) : end] = piece[max(-begin, 0) :]
                self._end = max(self._end, end)

    def samples(self) -> np.ndarray:
        """All that was kept. Errors: ClipError no-audio without any sample."""
        if not self._any:
            raise ClipError("no-audio", "no sound could be decoded")
        return self._array[: self._end]


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except MemoryError:
            raise
        except av.error.FFmpegError:
            continue  # a damaged packet leaves a gap, which the next timestamp shows


def _time(frame: AudioFrame, expected: Fraction | None, zero: Fraction) -> Fraction:
    if frame.pts is None or frame.time_base is None:
        return expected if expected is not None else Fraction(0)
    return frame.pts * Fraction(frame.time_base) - zero
