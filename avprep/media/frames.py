"""What every decoder of pictures shares: the stored size, the upright side, the grid of ticks that is filled."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import numpy as np

from avprep.config import VideoSpec
from avprep.media.probe import Header

GROWTH_BYTES = 8_000_000
WIDEST_ASPECT = 16  # a longer picture is squeezed to this before it is cropped: no header makes it huge


class Pictures(Protocol):
    """The pictures of one open file."""

    start: Fraction
    """time of the first picture, in file seconds"""
    header: Header

    def sample(
        self, start: Fraction, until: Fraction, stop: Fraction | None, longest: float
    ) -> tuple[np.ndarray, Fraction]:
        """(frames uint8 [T, H, W, 3], end of the track): a picture at each tick from `start` to min(until, end).

        `start` must not be before `self.start`. Decoding goes on to the end of the track, or to `stop`. Errors:
        ClipError too-long where the track goes on for more than `longest` seconds.
        """
        ...


class TickFrames:
    """Frames uint8 [T, size, size, 3] of ticks 0 to `last`, not included, that grow tick by tick, in place."""

    def __init__(self, last: int, spec: VideoSpec) -> None:
        self._last = last
        self._shape = (spec.frame_size, spec.frame_size, 3)
        self._step = max(GROWTH_BYTES // int(np.prod(self._shape)), 1)
        self._array = np.empty((min(max(last, 1), self._step), *self._shape), np.uint8)
        self._count = 0

    def hold(self, picture: Callable[[], np.ndarray], end: int) -> None:
        """Show a picture from the next tick up to, not including, tick `end`; made only if a tick is there."""
        end = min(end, self._last)
        if end <= self._count:
            return
        if end > len(self._array):
            self._array.resize((-(-end // self._step) * self._step, *self._shape), refcheck=False)
        self._array[self._count] = picture()
        self._array[self._count + 1 : end] = self._array[self._count]
        self._count = end

    def taken(self) -> np.ndarray:
        """The frames so far."""
        return self._array[: self._count]


def scaled_size(width: int, height: int, pixel_aspect: Fraction | None, spec: VideoSpec) -> tuple[int, int]:
    """(width, height) to scale a source picture to before `centre`; for crop its shorter side, as displayed, fits."""
    size = spec.frame_size
    if spec.resize == "stretch":
        return size, size
    aspect = Fraction(width, height) * (pixel_aspect if pixel_aspect and pixel_aspect > 0 else 1)
    return _side(size, aspect), _side(size, 1 / aspect)


def _side(size: int, aspect: Fraction) -> int:
    return int(size * min(max(aspect, Fraction(1)), Fraction(WIDEST_ASPECT)) + Fraction(1, 2))


def centre(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle [size, size, 3] of a picture whose shorter side is `size`."""
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return picture[top : top + size, left : left + size]


def upright(picture: np.ndarray, matrix: bytes | None) -> np.ndarray:
    """A square picture turned and mirrored by its display matrix (nine int32).

    Any other angle counts as the nearest of the eight ways to lay a square: where the matrix maps rows more to rows
    than to columns there is no transposition, then each axis is flipped where its entry is negative.
    """
    if matrix is None:
        return picture
    a, b, _, c, d = struct.unpack("<5i", matrix[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        flip_x, flip_y = a < 0, d < 0
    else:
        picture, flip_x, flip_y = picture.swapaxes(0, 1), c < 0, b < 0
    return picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
