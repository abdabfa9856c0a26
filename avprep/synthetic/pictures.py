"""The demos' pictures: a flashing shape that wanders and spins, a handwritten digit that wanders; both over texture."""

from __future__ import annotations

import numpy as np

SHAPES = ("circle", "square", "triangle", "cross", "ring", "star", "bars", "crescent")


def draw_clip(
    shape: str,
    times: np.ndarray,
    flash: np.ndarray,
    size: np.ndarray,
    scene: np.ndarray,
    height: int,
    width: int,
    draw: np.random.Generator,
) -> np.ndarray:
    """Frames uint8 [T, H, W, 3] at `times` seconds; `flash` and `size` [T] in 0 to 1; all else is drawn.

    `scene` [2] in 0 to 1: the background's hue (blue to orange) and its brightness.
    """
    y, x = _grid(height, width)
    radius = 0.45 + 0.4 * size
    reach = 1.05 - radius
    centre_y, centre_x = reach * _drift(times, draw), reach * _drift(times, draw)
    angle = (0.4 * _drift(times, draw))[:, None, None]
    dy, dx = y[None] - centre_y[:, None, None], x[None] - centre_x[:, None, None]
    cos, sin = np.cos(angle) / radius[:, None, None], np.sin(angle) / radius[:, None, None]
    inside = coverage(shape, cos * dx + sin * dy, cos * dy - sin * dx)[..., None]

    colour = draw.uniform(0.15, 0.75, 3)
    tint = (colour + (1 - colour) * 0.9 * flash[:, None])[:, None, None, :]
    warmth, brightness = scene
    ground = (0.15 + 0.45 * brightness) * np.array([0.3 + 0.7 * warmth, 0.65, 1 - 0.7 * warmth])
    ground = ground * draw.uniform(0.8, 1.2, 3)
    ground = _textured(ground, y, x, draw) * (1 + 0.5 * flash[:, None, None, None])
    return _grainy(np.where(inside, tint, ground), draw)


def draw_digit(
    image: np.ndarray, times: np.ndarray, level: np.ndarray, frame_size: int, draw: np.random.Generator
) -> np.ndarray:
    """Frames uint8 [T, S, S, 3] at `times` seconds: `image` [8, 8] in 0 to 1, three fifths to four fifths of a frame.

    `level` [T] in 0 to 1 is the digit's brightness, from half to full; path, colours, texture and grain are drawn.
    """
    from scipy.ndimage import map_coordinates

    y, x = _grid(frame_size, frame_size)
    half = draw.uniform(0.6, 0.8)
    reach = 1 - half
    centre_y, centre_x = reach * _drift(times, draw), reach * _drift(times, draw)
    on_image = np.stack(np.broadcast_arrays(y - centre_y[:, None, None], x - centre_x[:, None, None]))
    ink = map_coordinates(image, (on_image / half + 1) * len(image) / 2 - 0.5, order=1)[..., None]
    ground = _textured(draw.uniform(0.05, 0.3, 3), y, x, draw)
    colour = draw.uniform(0.75, 1, 3) * (0.5 + 0.5 * level[:, None])
    return _grainy(ground * (1 - ink) + colour[:, None, None, :] * ink, draw)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """y and x [H, W] of the pixels' centres, -1 to 1 from edge to edge."""
    rows, columns = np.mgrid[0:height, 0:width]
    return (rows + 0.5) / height * 2 - 1, (columns + 0.5) / width * 2 - 1


def _textured(colour: np.ndarray, y: np.ndarray, x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """`colour` [3] under a random standing wave: [H, W, 3]."""
    waves, phases = draw.uniform(1, 6, 2), draw.uniform(0, 2 * np.pi, 2)
    texture = np.sin(waves[0] * x * np.pi + phases[0]) * np.sin(waves[1] * y * np.pi + phases[1])
    return colour + draw.uniform(0.02, 0.15) * texture[..., None]


def _grainy(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The picture, 0 to 1, as uint8 with random grain."""
    grain = draw.standard_normal(picture.shape, np.float32)
    grain *= np.float32(draw.uniform(0.01, 0.06))
    grain += picture.astype(np.float32)
    np.clip(grain, 0, 1, out=grain)
    grain *= 255
    return grain.astype(np.uint8)


def _drift(times: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A slow wave [T] in -1 to 1 of random pace (one turn in 1.5 to 6 s) and phase."""
    return np.sin(2 * np.pi * draw.uniform(1 / 6, 1 / 1.5) * times + draw.uniform(0, 2 * np.pi))


def coverage(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether a point is inside the shape, bool, in its own coordinates u, v of about [-1, 1]."""
    radius = np.hypot(u, v)
    if shape == "circle":
        inside = radius < 0.85
    elif shape == "square":
        inside = np.maximum(abs(u), abs(v)) < 0.75
    elif shape == "triangle":
        inside = (v > -0.55) & (v + 1.75 * abs(u) < 0.95)
    elif shape == "cross":
        inside = (np.minimum(abs(u), abs(v)) < 0.25) & (np.maximum(abs(u), abs(v)) < 0.95)
    elif shape == "ring":
        inside = (radius < 0.95) & (radius > 0.55)
    elif shape == "star":
        inside = radius < 0.62 + 0.33 * np.cos(5 * np.arctan2(v, u))
    elif shape == "bars":
        inside = (np.maximum(abs(u), abs(v)) < 0.9) & (np.mod(u * 2.2, 1.0) < 0.5)
    elif shape == "crescent":
        inside = (radius < 0.95) & (np.hypot(u - 0.45, v) > 0.7)
    else:
        raise ValueError(f"no shape {shape!r}")
    return inside
