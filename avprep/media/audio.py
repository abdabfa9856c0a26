"""The sound of a file as one mono float32 track at one rate, on the file's own clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from avprep.errors import ClipError
from avprep.media import mixing, probe, restarts, seeking, timing
from avprep.media.timing import Span, Units, sample_count

GAP_SECONDS = Fraction(1, 20)
GROWTH_SAMPLES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Sound:
    """An open container whose sound track (probe.audio_stream) is to be read; `zero` is its time of file time 0.

    `downmix` is that of AudioSpec.
    """

    container: InputContainer
    header: probe.Header
    zero: Fraction = Fraction(0)
    downmix: str = "mean"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What of a track is asked for: from / to seconds after its file's first track starts; at most `limit_seconds`."""

    limit_seconds: float
    start_seconds: float | None = None
    end_seconds: float | None = None
    other_start: Fraction | None = None
    """where the file's other track starts, if it has one"""

    def bounds(self, track_start: Fraction, units: Units) -> tuple[float, int]:
        """When what is wanted of the track ends (inf: not before the track), and the last time that is allowed."""
        end = None if self.end_seconds is None else units.at_or_after(track_start + Fraction(self.end_seconds))
        return math.inf if end is None else end, units.at_or_before(track_start + Fraction(self.limit_seconds))


@dataclass(frozen=True)
class Laid:
    """Where kept samples lie: at `rate_hz`, the first is number `first_sample` of a track at `span` in file seconds."""

    rate_hz: int
    span: Span
    first_sample: int = 0

    def part(self, span: Span) -> tuple[int, int]:
        """(first, count) of the samples from span.start on, floor(rate * duration); the track may end before."""
        first = round((span.start - self.span.start) * self.rate_hz) - self.first_sample
        return first, sample_count(span.duration, self.rate_hz)


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
        first, count = Laid(self.rate_hz, self.span, self.first_sample).part(span)
        if first >= 0 and first + count <= len(self.samples):
            return self.samples[first : first + count]
        out = np.zeros(count, np.float32)
        part = self.samples[max(first, 0) : max(first + count, 0)]
        offset = max(-first, 0)
        out[offset : offset + len(part)] = part
        return out


def read_audio(sound: Sound, rate_hz: int | None, wanted: Wanted) -> AudioTrack:
    """The sound track as `keep_audio` has it, in memory."""
    kept = _InMemory()
    laid = keep_audio(sound, rate_hz, wanted, kept.put)
    return AudioTrack(kept.samples(), laid.rate_hz, laid.span, laid.first_sample)


def keep_audio(sound: Sound, rate_hz: int | None, wanted: Wanted, put: Callable[[int, np.ndarray], None]) -> Laid:
    """Where the sound track's samples lie: decoded once, mixed, resampled by swresample; gaps over 50 ms are silence.

    Each piece float32 [n] goes on as put(first, piece), its first sample's position counted from the wanted cut; what
    comes later may lie before, or over, what came. `rate_hz` None keeps the rate of its first samples. Decoding stops
    `end_seconds` after the track's start. Errors: ClipError no-audio; too-long where the track exceeds
    `limit_seconds` before that.
    """
    stream = probe.audio_stream(sound.container)
    stream.codec_context.thread_type = "NONE"
    seeking.skip_others(sound.container, stream)
    kept: _Kept | None = None
    mixer: mixing.Mixer | None = None
    clock = _Clock(sound.zero)
    end: float = math.inf
    latest = 0
    for frame in _frames(sound.container, stream):
        changed = clock.follows(frame)
        time = clock.time(frame)
        if kept is None:
            kept = _Kept(clock.units.seconds(time), rate_hz or frame.sample_rate, wanted, put)
        if changed:
            end, latest = wanted.bounds(kept.start, clock.units)
        if time >= end:
            break
        if time > latest:
            raise ClipError("too-long", f"sound beyond {wanted.limit_seconds:g} s")
        if changed or abs(time - clock.expected) > clock.gap:
            kept.take(mixer, None)
            mixer = mixing.mixer(frame, kept.rate_hz, sound.downmix)
            kept.move_to(clock.units.seconds(time))
            clock.expected = time
        clock.expected += frame.samples * clock.sample
        frame.pts = None
        kept.take(mixer, frame)
    if kept is not None:
        kept.take(mixer, None)
    if kept is None or not kept.any:
        raise ClipError("no-audio", "no sound could be decoded")
    track_end = max(clock.units.seconds(clock.expected), kept.start)
    return Laid(kept.rate_hz, Span(kept.start, track_end), kept.first)


class _Clock:
    """The file times of a track's frames in whole units, and when the next one is `expected`."""

    def __init__(self, zero: Fraction) -> None:
        self._zero_seconds = zero
        self._kind: tuple[object, ...] = ()
        self.units, self.expected = Units(1), 0
        self._latest: int | None = None

    def follows(self, frame: AudioFrame) -> bool:
        """Whether `frame` is of another kind than those before it: from here on the units are such as it needs."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind == self._kind:
            return False
        self._kind = kind
        time_base, sample = Fraction(frame.time_base or 0), Fraction(1, frame.sample_rate)
        before, self.units = self.units, Units.of(time_base, sample, self._zero_seconds, self.units.seconds(1))
        finer = self.units.per_second // before.per_second
        self.expected *= finer
        self._latest = None if self._latest is None else self._latest * finer
        self._stamp, self.sample, self._zero = map(self.units.whole, (time_base, sample, self._zero_seconds))
        self.gap = self.units.at_or_before(GAP_SECONDS)
        self._allowed = self.units.at_or_before(restarts.tolerance(None))
        return True

    def time(self, frame: AudioFrame) -> int:
        """When a frame starts; one without a timestamp follows those before it. Errors: ClipError clock-restarts."""
        if frame.pts is None or not self._stamp:
            return self.expected
        time = frame.pts * self._stamp - self._zero
        if self._latest is not None and time < self._latest - self._allowed:
            raise restarts.restart(*map(self.units.seconds, (self._latest, time)))
        self._latest = time
        return time


class _Kept:
    """Hands samples on with their positions; those before the wanted cut are let go.

    Sound that is stamped earlier than the track's first sample is let go as well.
    """

    def __init__(self, start: Fraction, rate_hz: int, wanted: Wanted, put: Callable[[int, np.ndarray], None]) -> None:
        self.start, self.rate_hz, self._put = start, rate_hz, put
        origin = start if wanted.other_start is None else min(start, wanted.other_start)
        cut = timing.as_seconds(wanted.start_seconds) or Fraction(0)
        self.first = max(int((origin + cut - start) * rate_hz), 0)
        self._position = 0
        self.any = False

    def move_to(self, time: Fraction) -> None:
        """Put what comes next at file time `time`."""
        self._position = round((time - self.start) * self.rate_hz) - self.first

    def take(self, mixer: mixing.Mixer | None, frame: AudioFrame | None) -> None:
        """Hand on what the mixer makes of `frame`, or of its end (None)."""
        for out in mixer.resample(frame) if mixer else ():
            piece = np.frombuffer(out.planes[0], np.float32, out.samples)  # type: ignore[call-overload]
            self.any = True
            begin, self._position = self._position, self._position + len(piece)
            if self._position > 0:
                self._put(max(begin, 0), piece[max(-begin, 0) :])


class _InMemory:
    """Samples at their positions in one array that grows in place."""

    def __init__(self) -> None:
        self._array = np.zeros(0, np.float32)
        self._end = 0

    def put(self, first: int, piece: np.ndarray) -> None:
        """Lay `piece` at `first`."""
        end = first + len(piece)
        if end > len(self._array):
            self._array.resize(-(-end // GROWTH_SAMPLES) * GROWTH_SAMPLES, refcheck=False)
        self._array[first:end] = piece
        self._end = max(self._end, end)

    def samples(self) -> np.ndarray:
        """All that was put, float32 [N], silence between."""
        return self._array[: self._end]


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except MemoryError:
            raise
        except av.error.FFmpegError:
            continue  # a damaged packet leaves a gap, which the next timestamp shows
