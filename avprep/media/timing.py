"""Pure arithmetic of clip time, in exact fractions of a second: spans, counts, ticks. No floats decide anything.

A clip of duration D has floor(rate * D) frames, and 1 + floor(100 * D) log-mel frames. Frame k is the last
source frame whose time is <= k / rate; log-mel frame j is centred at j / 100 s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from avprep.errors import ClipError


@dataclass(frozen=True)
class Span:
    """A half-open interval [start, end) of file time, in seconds."""

    start: Fraction
    end: Fraction

    @property
    def duration(self) -> Fraction:
        return self.end - self.start


def as_seconds(value: float | None) -> Fraction | None:
    """A manifest's decimal seconds as the fraction that was written (0.1 is 1/10), None as None."""
    return None if value is None else Fraction(str(value))


def cut(tracks: list[Span], start_seconds: float | None, end_seconds: float | None) -> Span:
    """The span in which all `tracks` exist, cut to the manifest's seconds (counted from the earliest track).

    Errors: ClipError av-mismatch where the tracks share less than half of the longer one; too-short where the
    cut leaves nothing. Tracks longer than the wanted cut are judged inside the cut only.
    """
    origin = min(track.start for track in tracks)
    begin, end = as_seconds(start_seconds), as_seconds(end_seconds)
    low = origin if begin is None else origin + begin
    high = max(track.end for track in tracks) if end is None else origin + end
    inside = [Span(max(track.start, low), min(track.end, high)) for track in tracks]
    shared = Span(max(track.start for track in inside), min(track.end for track in inside))
    longest = max(track.duration for track in inside)
    if longest <= 0:
        raise ClipError("too-short", f"the tracks end before {float(low - origin):.3f} s")
    if 2 * shared.duration < longest:
        lengths = ", ".join(f"{float(max(track.duration, Fraction(0))):.3f} s" for track in inside)
        raise ClipError("av-mismatch", f"tracks of {lengths} share {float(max(shared.duration, Fraction(0))):.3f} s")
    return shared


def frame_count(duration: Fraction, rate_hz: int) -> int:
    """Frames in a clip: floor(rate * duration)."""
    return int(rate_hz * duration)


def sample_count(duration: Fraction, rate_hz: int) -> int:
    """Audio samples in a clip: floor(rate * duration)."""
    return int(rate_hz * duration)


def first_tick_at_or_after(time: Fraction, rate_hz: int) -> int:
    """The smallest k with k / rate >= time."""
    return -int((-time * rate_hz) // 1)


@dataclass(frozen=True)
class Units:
    """File times as whole numbers of a unit, `per_second` of which make a second.

    As exact as fractions where the times are multiples of the unit, and ten times faster in a loop over frames.
    """

    per_second: int

    @classmethod
    def of(cls, *times: Fraction) -> Units:
        """The greatest unit of which all `times` are multiples, as far as a second is one as well."""
        return cls(math.lcm(*(time.denominator for time in times)))

    def whole(self, seconds: Fraction) -> int:
        """A multiple of the unit in units."""
        return int(seconds * self.per_second)

    def at_or_after(self, seconds: Fraction) -> int:
        """The first whole number of units that is not before `seconds`."""
        return math.ceil(seconds * self.per_second)

    def at_or_before(self, seconds: Fraction) -> int:
        """The last whole number of units that is not after `seconds`."""
        return math.floor(seconds * self.per_second)

    def seconds(self, time: int) -> Fraction:
        """A number of units in seconds."""
        return Fraction(time, self.per_second)


def ticks_after(start: Fraction, rate_hz: int, units: Units) -> Callable[[int], int]:
    """`first_tick_at_or_after(units.seconds(t) - start, rate_hz)` as a function of t."""
    scale = rate_hz * start.denominator
    shift = rate_hz * units.per_second * start.numerator
    unit = units.per_second * start.denominator
    return lambda time: -((shift - scale * time) // unit)
