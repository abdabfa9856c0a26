"""What happens to a batch on its device: flip, dtype, normalisation."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIN_STD_DB = 1.0  # bands above a recording's own bandwidth are empty and would be blown up


class Normalise(nn.Module):
    """Raw batches to model inputs.

    video uint8 [B, T, H, W, 3] -> float [B, 3, T, H, W], ImageNet mean and deviation; audio float16 [B, F, M] dB ->
    float [B, 1, F, M], per-band mean and deviation (at least 1 dB).
    """

    logmel_mean: torch.Tensor
    logmel_std: torch.Tensor
    video_mean: torch.Tensor
    video_std: torch.Tensor

    def __init__(self, logmel_mean: np.ndarray, logmel_std: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("logmel_mean", torch.tensor(logmel_mean, dtype=torch.float32))
        self.register_buffer("logmel_std", torch.tensor(logmel_std, dtype=torch.float32).clamp_min(MIN_STD_DB))
        self.register_buffer("video_mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1, 1))
        self.register_buffer("video_std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1, 1))

    def video(self, frames: torch.Tensor, flip: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised pictures; those of items with `flip` [B] true are mirrored left to right."""
        pictures = frames.permute(0, 4, 1, 2, 3).float()
        if flip is not None:
            pictures = torch.where(flip.view(-1, 1, 1, 1, 1), pictures.flip(-1), pictures)
        return (pictures - self.video_mean) / self.video_std

    def audio(self, logmel: torch.Tensor) -> torch.Tensor:
        """Normalised log-mel."""
        return ((logmel.float() - self.logmel_mean) / self.logmel_std).unsqueeze(1)
