"""Sound of any layout as mono float32 at one rate: the mean of its channels, or FFmpeg's own mix."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol, cast

from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import BlockingIOError as WantsMoreError
from av.filter import Graph

from avprep.errors import ClipError

MOST_CHANNELS = 64  # of FFmpeg's filter `pan`


class Mixer(Protocol):
    """Makes mono float32 frames of frames of one kind."""

    def resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """What comes out for `frame`, or at the end (None)."""
        ...


def mixer(frame: AudioFrame, rate_hz: int, downmix: str) -> Mixer:
    """A mixer for frames like `frame`; `downmix` is that of AudioSpec. Errors: ClipError no-audio."""
    if downmix == "swresample" or frame.layout.nb_channels == 1:
        return AudioResampler(format="fltp", layout="mono", rate=rate_hz)
    return _Mean(frame, rate_hz)


class _Mean:
    """The mean of the channels, whatever their layout, taken in float32 before the rate is changed."""

    def __init__(self, frame: AudioFrame, rate_hz: int) -> None:
        count = frame.layout.nb_channels
        if count > MOST_CHANNELS:
            raise ClipError("no-audio", f"{count} channels, at most {MOST_CHANNELS} can be mixed")
        self._graph = Graph()
        source = {
            "sample_rate": str(frame.sample_rate),
            "sample_fmt": frame.format.name,
            "channel_layout": frame.layout.name,
            "time_base": str(Fraction(1, frame.sample_rate)),
        }
        gains = "+".join(f"{1 / count!r}*c{channel}" for channel in range(count))
        target = {"sample_fmts": "fltp", "sample_rates": str(rate_hz), "channel_layouts": "mono"}
        self._graph.link_nodes(
            self._graph.add("abuffer", **source),
            self._graph.add("aformat", sample_fmts="fltp"),
            self._graph.add("pan", f"mono|c0={gains}"),
            self._graph.add("aformat", **target),
            self._graph.add("abuffersink"),
        ).configure()

    def resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """As in Mixer."""
        self._graph.push(frame)
        out: list[AudioFrame] = []
        while True:
            try:
                out.append(cast(AudioFrame, self._graph.pull()))
            except (WantsMoreError, EOFError):
                return out
