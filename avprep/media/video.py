"""The pictures of a PyAV container on the tick grid: decoded once, in one thread, shrunk, upright RGB.

A picture is converted only if some tick k / rate falls in its time, and of four codecs a picture that no tick needs
and no other picture refers to is not even decoded: the same bytes for less work. That rests on the timestamps of the
packets, so what contradicts them (a picture that does not come, one that no packet announced, damage that the decoder
reports) makes the track be decoded again in full. Cost: decoding plus about 0.1 ms a converted picture.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from avprep.config import Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media import frames, orientation, probe, restarts, seeking, timing
from avprep.media.timing import Units

FALLBACK_RATE = Fraction(25)
SKIPPABLE = {"h264", "hevc", "mpeg2video", "mpeg4"}
LOOKAHEAD_PACKETS = 32  # more than any of them reorders


class ContradictionError(Exception):
    """What was decoded is not what the packets' timestamps promised."""


class VideoTrack:
    """The first video track of an open container, `zero` being the container's time of file time 0.

    `reopen` gives the container anew; without it every picture is decoded. `late` False: every picture before the span
    is read, too. Errors: ClipError no-video, too-large.
    """

    def __init__(
        self,
        container: InputContainer,
        spec: VideoSpec,
        limits: Limits,
        zero: Fraction = Fraction(0),
        reopen: Callable[[], InputContainer] | None = None,
        late: bool = True,
    ) -> None:
        self._container, self._spec, self._limits, self._zero, self._reopen = container, spec, limits, zero, reopen
        self._late = late
        self._stream = probe.video_stream(container, limits)
        self._stream.thread_type = "NONE"
        self._context = self._stream.codec_context
        self._context.options = {"max_pixels": str(limits.max_pixels)}
        self.header = probe.header(container, self._stream)
        time_base = Fraction(self._stream.time_base or 1)
        self._step = 1 / Fraction(self._stream.average_rate or FALLBACK_RATE)
        self._units = Units.of(time_base, self._step, zero)
        self._stamp_units, self._zero_units = self._units.whole(time_base), self._units.whole(zero)
        self._step_units = self._units.whole(self._step)
        self._allowed = self._units.at_or_before(restarts.tolerance(self._step))
        self._clock = Clock(container.format.name == "avi")
        self._needs = Needs() if reopen and self._context.name in SKIPPABLE and not self._clock.by_dts else None
        self._orientation = orientation.Orientation(self._stream) if self._context.name == "h264" else None
        self._reformatter = VideoReformatter()
        self._rotation: int | None = None
        self._matrix: bytes | None = None
        self._demuxed: Iterator[Packet] = container.demux(self._stream)
        self._entered: int | None = None  # time of the picture at which a late span is entered
        self._pictures = self._decoded()
        first = next(self._pictures, None)
        if first is None:
            raise ClipError("no-video", "no picture could be decoded")
        self._first = first
        self.start = self._units.seconds(first[0])

    def sample(
        self, start: Fraction, until: Fraction, stop: Fraction | None, longest: float
    ) -> tuple[np.ndarray, Fraction]:
        """As in Pictures.sample."""
        try:
            return self._sample(start, until, stop, longest)
        except ContradictionError:
            assert self._reopen is not None
            with self._reopen() as container:
                reopen = self._reopen if self._late else None
                again = VideoTrack(container, self._spec, self._limits, self._zero, reopen, late=False)
                return again.sample(start, until, stop, longest)

    def _sample(
        self, start: Fraction, until: Fraction, stop: Fraction | None, longest: float
    ) -> tuple[np.ndarray, Fraction]:
        units, rate_hz = self._units, self._spec.frame_rate_hz
        if not self._reopen or not seeking.worthwhile(self._container, self._stream, start - self.start):
            self._late = False
        if self._orientation and self._orientation.marked:  # what holds there was set before
            self._late = False
        if self._late:
            self._enter(start)
        tick = timing.ticks_after(start, rate_hz, units)
        shown_until = until if stop is None else min(until, stop)
        last = timing.first_tick_at_or_after(shown_until - start, rate_hz)
        if self._needs:
            self._needs.begin(lambda pts: tick(self._time(pts)), last, stops=stop is not None)
        ticks = frames.TickFrames(last, self._spec)
        time, held = self._first
        end = None if stop is None else units.at_or_after(stop)
        latest = units.at_or_before(self.start + Fraction(longest))
        for next_time, frame in self._pictures:
            ticks.hold(lambda: self._picture(held), tick(next_time))  # noqa: B023 - called at once
            time, held = next_time, frame
            if end is not None and time >= end:
                break
            if time > latest:
                raise ClipError("too-long", f"pictures beyond {longest:g} s")
        if self._needs:
            self._needs.check(entered=self._entered is not None)
        length = held.duration * held.time_base if held.duration and held.time_base else self._step
        track_end = units.seconds(time) + max(Fraction(length), Fraction(0))
        shown_until = track_end if stop is None else min(track_end, stop)
        ticks.hold(lambda: self._picture(held), timing.first_tick_at_or_after(shown_until - start, rate_hz))
        return ticks.taken(), track_end

    def _enter(self, start: Fraction) -> None:
        """Go on from the key frame before `start`. Errors: ContradictionError where that could change a byte."""
        try:
            self._container.seek(int(start / Fraction(self._stream.time_base or 1)), stream=self._stream)
            self._context.flush_buffers()
            demuxed = self._container.demux(self._stream)
            first = next(demuxed)
        except (av.error.FFmpegError, StopIteration):
            raise ContradictionError from None
        if not seeking.starts_anew(self._stream, first) or self._time(first.pts or 0) > self._units.at_or_before(start):
            raise ContradictionError
        self._demuxed, self._entered = chain([first], demuxed), self._time(first.pts or 0)
        self._needs = Needs() if self._needs else None
        self._pictures = self._decoded()
        entered = next(self._pictures, None)
        if entered is None or entered[0] != self._entered:
            raise ContradictionError
        self._first = entered

    def _decoded(self) -> Iterator[tuple[int, VideoFrame]]:
        """(time in units, frame) in rising time; one without a timestamp follows its predecessor by one step."""
        last: int | None = None
        for packet, needed in self._packets():
            self._context.skip_frame = "DEFAULT" if needed else "NONREF"
            for frame in self._frames_of(packet):
                if frame.width * frame.height > self._limits.max_pixels:
                    raise ClipError("too-large", f"{frame.width}x{frame.height} pixels")
                if self._needs:
                    self._needs.arrived(frame)
                if self._orientation:
                    self._orientation.hold(frame)
                stamp = self._clock.stamp(frame)
                if stamp is not None:
                    time = self._time(stamp)
                else:
                    time = 0 if last is None else last + self._step_units
                if self._entered is not None and time < self._entered:
                    continue  # shown before the key frame, decoded after it
                if last is None or time > last:
                    last = time
                    yield time, frame
                elif time < last - self._allowed:
                    raise restarts.restart(*map(self._units.seconds, (last, time)))

    def _time(self, stamp: int) -> int:
        """File time, in units, of a timestamp of the stream."""
        return stamp * self._stamp_units - self._zero_units

    def _frames_of(self, packet: Packet) -> list[VideoFrame]:
        with probe.decoder_log() as log:
            try:
                return packet.decode()
            except MemoryError:
                raise
            except av.error.FFmpegError:
                refused = probe.refused_pixels(log, self._limits)
        if refused:
            raise ClipError("too-large", f"{refused} pixels, the limit is {self._limits.max_pixels}")
        if self._needs:
            self._needs.damaged()
        return []  # a damaged packet: its picture is lost, the one before is held

    def _packets(self) -> Iterator[tuple[Packet, bool]]:
        """(packet, whether its picture is needed), each decided once the packets after it are known."""
        ahead: deque[Packet] = deque()
        for packet in self._demuxed:
            ahead.append(packet)
            if self._needs and not self._needs.announced(packet):
                self._needs = None
            if not self._needs or len(ahead) > LOOKAHEAD_PACKETS:
                yield self._with_need(ahead.popleft())
        while ahead:
            yield self._with_need(ahead.popleft())

    def _with_need(self, packet: Packet) -> tuple[Packet, bool]:
        turning = self._orientation is not None and self._orientation.mark(packet)
        return packet, not self._needs or self._needs.needed(packet) or turning

    def _picture(self, frame: VideoFrame) -> np.ndarray:
        spec = self._spec
        width, height = frames.scaled_size(frame.width, frame.height, self._stream.sample_aspect_ratio, spec)
        small = self._reformatter.reformat(frame, width, height, "gbrp", interpolation=spec.resize_filter.upper())
        if frame.rotation != self._rotation:  # side data and its frame hold each other: ask once, not for every frame
            self._rotation, self._matrix = frame.rotation, orientation.matrix(frame)
        turn = self._matrix or (orientation.held(frame) if self._orientation else None)
        return frames.upright(frames.centre(_interleaved(small), spec.frame_size), turn)


def _interleaved(frame: VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3] of a frame in planes: the scaler makes those faster than RGB, with chroma for every pixel."""
    green, blue, red = (np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, -1) for plane in frame.planes)
    return np.stack((red, green, blue), axis=-1)[:, : frame.width]


class Clock:
    """When pictures are shown, in units of the stream: by their own time, or by when their packet was to be decoded.

    The latter where they have none, where it goes wrong less often, and in AVI, which stores no other.
    """

    def __init__(self, by_dts: bool) -> None:
        self.by_dts = by_dts
        self._last: dict[str, int] = {}
        self._faults = {"pts": 0, "dts": 0}

    def stamp(self, frame: VideoFrame) -> int | None:
        """The time of the next picture, None where it is unknown."""
        for name, value in (("pts", frame.pts), ("dts", frame.dts)):
            if value is not None:
                self._faults[name] += name in self._last and value <= self._last[name]
                self._last[name] = value
        if frame.dts is not None and (self.by_dts or frame.pts is None or self._faults["pts"] > self._faults["dts"]):
            return frame.dts
        return frame.pts


class Needs:
    """Which packets' pictures some tick needs, by the packets' timestamps alone. Before `begin`, all are needed."""

    def __init__(self) -> None:
        self._announced: list[int] = []  # sorted
        self._wanted: set[int] = set()
        self._arrived: set[int | None] = set()
        self._last: int | None = None
        self._skipped = False
        self._tick: Callable[[int], int] | None = None
        self._end_tick = 0
        self._stops = False

    def begin(self, tick: Callable[[int], int], end_tick: int, stops: bool) -> None:
        """`tick` gives the first tick at or after a timestamp, `end_tick` is the first that is not wanted.

        `stops`: nothing is read once a picture of `end_tick` has come.
        """
        self._tick, self._end_tick, self._stops = tick, end_tick, stops

    def announced(self, packet: Packet) -> bool:
        """Take note of a packet; False where packets without timestamps make the track unfit for skipping."""
        if packet.size and packet.pts is None:
            if self._skipped:
                raise ContradictionError
            return False
        if packet.pts is not None and not packet.is_discard:
            insort(self._announced, packet.pts)
        return True

    def needed(self, packet: Packet) -> bool:
        """Whether a tick falls in the packet's time, which ends with the next picture's; the last one is needed."""
        if self._tick is None or packet.pts is None or packet.is_discard:
            return True
        after = bisect_right(self._announced, packet.pts)
        if after < len(self._announced):
            end = min(self._tick(self._announced[after]), self._end_tick)
            if end <= max(self._tick(packet.pts), 0):
                self._skipped = True
                return False
        if not self._stops or self._tick(packet.pts) < self._end_tick:
            self._wanted.add(packet.pts)
        return True

    def arrived(self, frame: VideoFrame) -> None:
        """Take note of a decoded picture."""
        if self._skipped and (
            frame.pts is None or frame.is_corrupt or (self._last is not None and frame.pts <= self._last)
        ):
            raise ContradictionError
        self._last = frame.pts
        self._arrived.add(frame.pts)

    def damaged(self) -> None:
        """A packet could not be decoded: what is then shown may rest on a skipped picture."""
        if self._skipped:
            raise ContradictionError

    def check(self, entered: bool) -> None:
        """Raise ContradictionError unless what was wanted has come, and nothing that no packet announced.

        Only where pictures were skipped, or where the track was `entered` at a later key frame.
        """
        if (self._skipped or entered) and not (self._wanted <= self._arrived <= set(self._announced)):
            raise ContradictionError
