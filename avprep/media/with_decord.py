"""Decord, which decodes pictures alone: the sound is PyAV's, and so is the probe that every file passes first.

Decord opens whatever FFmpeg opens, without a whitelist, so no file reaches it that the probe refused. It gives the time
of a picture since the track's start as a 32-bit float: here that is file time again, rounded to the track's own clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import decord
import numpy as np

from avprep.config import Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media import frames, orientation, probe, restarts, timing
from avprep.media.with_pyav import open_sound
from avprep.shared.errors import first_line

__all__ = ["open_pictures", "open_sound"]


class DecordPictures:
    """The pictures that decord gives of one file, as in frames.Pictures."""

    def __init__(
        self, reader: Any, times: list[Fraction], header: probe.Header, spec: VideoSpec, step: Fraction
    ) -> None:
        self._reader, self._times, self._spec, self._step, self.header = reader, times, spec, step, header
        self.start = times[0]

    def sample(
        self, start: Fraction, until: Fraction, stop: Fraction | None, longest: float
    ) -> tuple[np.ndarray, Fraction]:
        """As in Pictures.sample."""
        rate_hz = self._spec.frame_rate_hz
        ticks = frames.TickFrames(timing.first_tick_at_or_after(until - start, rate_hz), self._spec)
        end = self._times[-1] + self._step
        for time, following in zip(
            self._times, [*self._times[1:], end if stop is None else min(end, stop)], strict=True
        ):
            if stop is not None and time >= stop:
                break
            if time - self.start > longest:
                raise ClipError("too-long", f"pictures beyond {longest:g} s")
            with decord_errors():
                shown = self._reader.next()
            next_tick = timing.first_tick_at_or_after(following - start, rate_hz)
            ticks.hold(lambda: frames.centre(_rgb(shown.asnumpy()), self._spec.frame_size), next_tick)  # noqa: B023
        return ticks.taken(), end


@contextlib.contextmanager
def open_pictures(path: Path, spec: VideoSpec, limits: Limits) -> Iterator[DecordPictures]:
    """The pictures of a file, made small by decord."""
    decord.logging.set_level(decord.logging.QUIET)
    with probe.open_media(path, limits, "vide") as container:
        stream = probe.video_stream(container, limits)
        if len(probe.tracks(container, "video")) > 1:
            raise ClipError("no-video", "decord cannot be asked for one of several video tracks; use another decoder")
        if not stream.width:
            raise ClipError("no-video", "no picture could be decoded")
        header = probe.header(container, stream)
        first_packet = next(container.demux(stream), None)
        if stream.codec_context.name == "h264" and first_packet and orientation.turns(stream, first_packet):
            raise ClipError("no-video", "decord does not turn pictures as H.264 itself asks; use another decoder")
        aspect = stream.sample_aspect_ratio
        width, height = frames.scaled_size(stream.width, stream.height, aspect, spec)
        unit = Fraction(stream.time_base or 1)
        first = (stream.start_time or 0) * unit
        step = 1 / Fraction(stream.average_rate or 25)
        restarts.check_packets(container, stream, step)
    with decord_errors():
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), width=width, height=height, num_threads=1)
        shown = reader.get_frame_timestamp(range(len(reader)))[:, 0].tolist()
        times = [first + round(Fraction(seconds) / unit) * unit for seconds in shown]
        before = sum(time < first for time in times)  # an edit list's pre-roll: counted, though never given
    if before == len(times):
        raise ClipError("no-video", "no picture could be decoded")
    yield DecordPictures(reader, times[before:], header, spec, step)


@contextlib.contextmanager
def decord_errors() -> Iterator[None]:
    """Decord's errors as ClipError no-video, without the lines of its stack."""
    try:
        yield
    except (decord.DECORDError, IndexError) as error:
        words = first_line(error).split("] ")[-1] if str(error) else "no picture"
        raise ClipError("no-video", f"decord: {words[:120]}") from None


def _rgb(picture: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] of decord's, which takes the bytes of a padded row over the width for its channels."""
    height, width = picture.shape[:2]
    return picture.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)
