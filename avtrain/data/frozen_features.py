"""What a frozen encoder makes of a clip's windows, in place of the media that it would encode in every epoch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """Features float32 [clips, positions, D] of the encoder of a side, `video` or `audio`, for dataset rows [clips].

    Position k is the window at (k + 0.5) / positions through the clip, as in `window_positions`.
    """

    side: str
    rows: np.ndarray
    values: np.ndarray

    @property
    def num_features(self) -> int:
        """D."""
        return int(self.values.shape[2])

    @cached_property
    def _clip(self) -> np.ndarray:
        clips = np.full(int(self.rows.max()) + 1, -1)
        clips[self.rows] = np.arange(len(self.rows))
        return clips

    def of(self, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Features float32 [B, D] of the windows at `positions` [B] of dataset `rows` [B]."""
        return self.values[self._clip[rows], positions]
