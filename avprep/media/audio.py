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

from avprep.errors import ClipError
from avprep.media.probe import checked_stream
from avprep.timing import Span, sample_count

GAP_SECONDS = Fraction(1, 20)


@dataclass(frozen=True)
class AudioTrack:
    """Mono samples float32 [N] at `rate_hz`; the first one is at span.start in file seconds."""

    samples: np.ndarray
    rate_hz: int
    span: Span

    def window(self, span: Span) -> np.ndarray:
        """Samples float32 [floor(rate * duration)] from span.start on, silence where the track has none."""
        count = sample_count(span.duration, self.rate_hz)
        first = round((span.start - self.span.start) * self.rate_hz)
        out = np.zeros(count, np.float32)
        part = self.samples[max(first, 0) : max(first + count, 0)]
        offset = max(-first, 0)
        out[offset : offset + len(part)] = part
        return out


def read_audio(
    container: av.container.InputContainer, rate_hz: int, limit_seconds: float, stop_seconds: float | None = None
) -> AudioTrack:
    """The first audio stream, decoded once and resampled by swresample; gaps over 50 ms become silence.

    Decoding stops `stop_seconds` after the track's start. Errors: ClipError no-audio; too-long where the track
    exceeds `limit_seconds` before that.
    """
    if not container.streams.audio:
        raise ClipError("no-audio", "no audio track")
    stream = container.streams.audio[0]
    checked_stream(stream, "no-audio")
    stream.codec_context.thread_type = "NONE"
    runs: list[tuple[Fraction, list[np.ndarray]]] = []
    resampler: AudioResampler | None = None
    expected: Fraction | None = None
    shape: object = None
    for frame in _frames(container, stream):
        time = _time(frame, expected)
        since = time - runs[0][0] if runs else Fraction(0)
        if stop_seconds is not None and since >= stop_seconds:
            break
        if since > limit_seconds:
            raise ClipError("too-long", f"sound beyond {limit_seconds:g} s")
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or expected is None or now != shape or abs(time - expected) > GAP_SECONDS:
            _flush(resampler, runs)
            resampler, shape = AudioResampler(format="fltp", layout="mono", rate=rate_hz), now
            runs.append((time, []))
            expected = time
        expected += Fraction(frame.samples, frame.sample_rate)
        frame.pts = None
        runs[-1][1].extend(out.to_ndarray()[0] for out in resampler.resample(frame))
    _flush(resampler, runs)
    if expected is None:
        raise ClipError("no-audio", "no sound could be decoded")
    return _joined(runs, rate_hz, expected)


def _frames(container: av.container.InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except MemoryError:
            raise
        except av.error.FFmpegError:
            continue  # a damaged packet leaves a gap, which the next timestamp shows


def _time(frame: AudioFrame, expected: Fraction | None) -> Fraction:
    if frame.pts is None or frame.time_base is None:
        return expected if expected is not None else Fraction(0)
    return frame.pts * Fraction(frame.time_base)


def _flush(resampler: AudioResampler | None, runs: list[tuple[Fraction, list[np.ndarray]]]) -> None:
    if resampler is not None:
        runs[-1][1].extend(out.to_ndarray()[0] for out in resampler.resample(None))


def _joined(runs: list[tuple[Fraction, list[np.ndarray]]], rate_hz: int, last: Fraction) -> AudioTrack:
    start = min(time for time, _ in runs)
    pieces = [(round((time - start) * rate_hz), np.concatenate(parts)) for time, parts in runs if parts]
    if not pieces:
        raise ClipError("no-audio", "no sound could be decoded")
    if len(pieces) == 1 and pieces[0][0] == 0:
        samples = pieces[0][1]
    else:
        samples = np.zeros(max(first + len(piece) for first, piece in pieces), np.float32)
        for first, piece in pieces:
            samples[first : first + len(piece)] = piece
    return AudioTrack(samples, rate_hz, Span(start, max(last, start)))
