"""Where the clock of a track starts over: recordings joined byte for byte, whose times do not give their order."""

from __future__ import annotations

from fractions import Fraction

from av.container import InputContainer
from av.stream import Stream

from avprep.errors import ClipError

SOUND_SECONDS = Fraction(1, 10)
REORDERED_PICTURES = 16  # at most, where a muxer wrote times in the wrong order


def tolerance(picture_seconds: Fraction | None) -> Fraction:
    """How far a track's time may step back, in seconds; `picture_seconds` from picture to picture, None of sound."""
    return SOUND_SECONDS if picture_seconds is None else max(SOUND_SECONDS, REORDERED_PICTURES * picture_seconds)


def restart(before: Fraction, after: Fraction) -> ClipError:
    """The error for a track whose time steps back, both in seconds of the file."""
    return ClipError("clock-restarts", f"after {float(before):.2f} s comes {float(after):.2f} s")


def check_packets(container: InputContainer, stream: Stream, picture_seconds: Fraction | None) -> None:
    """Read a track to its end without decoding. Errors: ClipError clock-restarts."""
    unit, allowed = Fraction(stream.time_base or 1), tolerance(picture_seconds)
    latest: Fraction | None = None
    for packet in container.demux(stream):
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None or packet.is_discard:
            continue
        time = stamp * unit
        if latest is not None and time < latest - allowed:
            raise restart(latest, time)
        latest = time if latest is None else max(latest, time)
