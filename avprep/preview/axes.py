"""Positions on an axis, in percent of its length as CSS wants them."""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_TICKS = 7
TICK_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
SHOWN_HERTZ = (500, 1000, 2000, 4000, 8000, 16000, 32000)


def percent(value: float) -> str:
    """`value` with up to four decimals."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def nice_ticks(seconds: float) -> list[dict[str, Any]]:
    """Ticks of an axis from 0 to `seconds`: position in percent, text, css (first and last are kept inside)."""
    step = next((step for step in TICK_STEPS if seconds / step < MAX_TICKS), seconds)
    ticks = []
    for number in range(int(seconds / step + 1e-9) + 1):
        position = 100 * number * step / seconds
        css = "first" if number == 0 else "last" if position > 94 else ""
        ticks.append({"position": percent(position), "text": f"{number * step:g} s", "css": css})
    return ticks


def hertz_ticks(centres_hz: np.ndarray) -> list[tuple[str, str]]:
    """(position in percent along the bands, text) of round frequencies that lie between the outer bands."""
    shown = [hertz for hertz in SHOWN_HERTZ if centres_hz[0] <= hertz <= centres_hz[-1]]
    bands = np.interp(shown, centres_hz, np.arange(len(centres_hz)))
    positions = [percent(100 * (band + 0.5) / len(centres_hz)) for band in bands]
    return list(zip(positions, (f"{hertz / 1000:g}k" if hertz >= 1000 else str(hertz) for hertz in shown), strict=True))
