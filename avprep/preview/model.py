"""What the preview page shows, as values: pictures, clips, and the page as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from avprep.dataset import Dataset


@dataclass(frozen=True)
class Picture:
    """A WebP picture that stands for clip time [start_seconds, end_seconds)."""

    data: bytes
    start_seconds: float
    end_seconds: float
    columns: int
    """frames side by side, or columns of a spectrogram"""


@dataclass(frozen=True)
class ShownClip:
    """One clip of the page; `strip` is None for sound only, `silence` is why there is no `sound` (MP3)."""

    row: int
    clip_id: str
    class_id: int
    split: str
    seconds: float
    strip: Picture | None
    spectrogram: Picture
    sound: bytes | None = None
    silence: str = ""


@dataclass(frozen=True)
class Preview:
    """All that the page shows; colours run over `scale_db` = (low, high) on every spectrogram."""

    dataset: Dataset
    clips: list[ShownClip]
    scale_db: tuple[int, int]
    failures: list[dict[str, Any]]
    band_centres_hz: np.ndarray
    split: str | None
