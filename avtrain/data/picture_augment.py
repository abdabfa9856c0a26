"""Pictures of a batch, cropped and recoloured: every picture of a clip in the same way, by torchvision."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as pictures

PICTURE_DRAWS = 10
"""random numbers that a clip's pictures take"""
JITTER_SHARE, FACTOR_RANGE, HUE_RANGE = 0.8, 0.8, 0.2
"""share of clips whose colours change, and by how much at strength 1 (SimCLR, Chen et al. 2020, arXiv 2002.05709)"""
ASPECTS = 3 / 4, 4 / 3


@dataclass(frozen=True, kw_only=True)
class PictureAugment:
    """Random crops, colours and grey, the fields of PretrainConfig; (frames, draws) -> frames.

    Frames are uint8 [b, T, H, W, 3], those returned [b, T, h, w, 3]; draws float [PICTURE_DRAWS, b] in [0, 1).
    """

    crop_size: int = 0
    crop_min_area: float = 1.0
    colour_jitter: float = 0.0
    grey_share: float = 0.0

    @property
    def used(self) -> bool:
        """Whether it does anything."""
        return self != PictureAugment()

    def __call__(self, frames: torch.Tensor, draws: np.ndarray) -> torch.Tensor:
        clips = [
            self._recoloured(self._cropped(clip, draw[:4].tolist()), draw[4:].tolist())
            for clip, draw in zip(frames.movedim(-1, -3), draws.T, strict=True)
        ]
        return torch.stack(clips).movedim(-3, -1)

    def _cropped(self, clip: torch.Tensor, draw: list[float]) -> torch.Tensor:
        """uint8 [T, 3, H, W] -> [T, 3, h, w]."""
        stored = clip.shape[-1]
        size = self.crop_size or stored
        if self.crop_min_area == 1:
            top, left = (int(share * (stored - size + 1)) for share in draw[2:])
            return clip[..., top : top + size, left : left + size]
        top, left, height, width = crop_box(stored, self.crop_min_area, draw)
        return pictures.resized_crop(clip, top, left, height, width, [size, size], antialias=True)

    def _recoloured(self, clip: torch.Tensor, draw: list[float]) -> torch.Tensor:
        """uint8 [T, 3, h, w] in other colours, or grey."""
        if self.colour_jitter and draw[0] < JITTER_SHARE:
            factors = [1 + FACTOR_RANGE * self.colour_jitter * (2 * share - 1) for share in draw[1:4]]
            clip = pictures.adjust_brightness(clip, factors[0])
            clip = pictures.adjust_contrast(clip, factors[1])
            clip = pictures.adjust_saturation(clip, factors[2])
            clip = pictures.adjust_hue(clip, HUE_RANGE * self.colour_jitter * (2 * draw[4] - 1))
        if draw[5] < self.grey_share:
            clip = pictures.rgb_to_grayscale(clip, num_output_channels=3)
        return clip


def crop_box(stored: int, min_area: float, draw: list[float]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a part of a square picture, in px, by four numbers in [0, 1).

    Its share of the area is uniform from `min_area` to 1, width over height log-uniform in ASPECTS, as torchvision's
    RandomResizedCrop draws them; where such a part would not fit, its longer side is the picture's.
    """
    side = stored * math.sqrt(min_area + (1 - min_area) * draw[0])
    low, high = (math.log(aspect) for aspect in ASPECTS)
    stretch = math.exp((low + (high - low) * draw[1]) / 2)
    height, width = (min(max(round(length), 1), stored) for length in (side / stretch, side * stretch))
    return int(draw[2] * (stored - height + 1)), int(draw[3] * (stored - width + 1)), height, width
