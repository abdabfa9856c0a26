"""Source frames to clip frames with PyAV: sampled on the tick grid, resized, upright RGB.

The stream is decoded once, in one thread. A source frame is converted only if some tick k / rate falls in its
time; cost: decoding plus about 0.1 ms a converted frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from avprep import timing
from avprep.config import Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media.probe import checked_stream

FALLBACK_RATE = Fraction(25)


class VideoTrack:
    """The first video stream of an open container; `start` is the time of its first picture, in file seconds.

    Errors: ClipError no-video, too-large.
    """

    def __init__(self, container: av.container.InputContainer, limits: Limits) -> None:
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise ClipError("no-video", "no video track")
        checked_stream(streams[0], "no-video")
        self._container, self._stream = container, streams[0]
        self._stream.thread_type = "NONE"
        context = self._stream.codec_context
        if context.width * context.height > limits.max_pixels:
            raise ClipError("too-large", f"{context.width}x{context.height} pixels, the limit is {limits.max_pixels}")
        self._limits = limits
        self._step = 1 / Fraction(self._stream.average_rate or FALLBACK_RATE)
        self._frames = self._decoded()
        first = next(self._frames, None)
        if first is None:
            raise ClipError("no-video", "no picture could be decoded")
        self._first = first
        self.start = first[0]

    def sample(self, start: Fraction, end: Fraction | None, spec: VideoSpec) -> tuple[np.ndarray, Fraction]:
        """(frames uint8 [T, H, W, 3], end of the track): a picture at each tick from `start` to min(end, track end).

        `start` must not be before `self.start`. Decoding goes to the end of the track, or to `end`.
        """
        reformatter = VideoReformatter()
        pictures: list[np.ndarray] = []
        time, held = self._first
        for next_time, frame in self._frames:
            self._hold(pictures, held, next_time - start, reformatter, spec)
            time, held = next_time, frame
            if end is not None and time >= end:
                break
        length = held.duration * held.time_base if held.duration and held.time_base else self._step
        track_end = time + max(Fraction(length), Fraction(0))
        last = track_end if end is None else min(track_end, end)
        self._hold(pictures, held, last - start, reformatter, spec)
        shape = (0, spec.frame_size, spec.frame_size, 3)
        return (np.ascontiguousarray(np.stack(pictures)) if pictures else np.zeros(shape, np.uint8)), track_end

    def _hold(
        self,
        pictures: list[np.ndarray],
        frame: VideoFrame,
        until: Fraction,
        reformatter: VideoReformatter,
        spec: VideoSpec,
    ) -> None:
        """Append `frame` for each tick from the next one up to, not including, clip time `until`."""
        wanted = timing.first_tick_at_or_after(until, spec.frame_rate_hz) - len(pictures)
        if wanted > 0:
            pictures.extend([_picture(frame, reformatter, spec)] * wanted)

    def _decoded(self) -> Iterator[tuple[Fraction, VideoFrame]]:
        """(time, frame) in rising time; frames without a timestamp follow their predecessor by one step."""
        last: Fraction | None = None
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except av.error.FFmpegError:
                continue  # a damaged packet: its picture is lost, the one before is held
            for frame in frames:
                if frame.width * frame.height > self._limits.max_pixels:
                    raise ClipError("too-large", f"{frame.width}x{frame.height} pixels")
                if frame.pts is not None and frame.time_base is not None:
                    time = frame.pts * Fraction(frame.time_base)
                else:
                    time = Fraction(0) if last is None else last + self._step
                if last is None or time > last:
                    last = time
                    yield time, frame


def _picture(frame: VideoFrame, reformatter: VideoReformatter, spec: VideoSpec) -> np.ndarray:
    size = spec.frame_size
    small = reformatter.reformat(frame, size, size, "rgb24", interpolation=spec.resize_filter.upper())
    picture = small.to_ndarray()
    quarter_turns = round(frame.rotation / 90) % 4
    return np.rot90(picture, quarter_turns) if quarter_turns else picture
