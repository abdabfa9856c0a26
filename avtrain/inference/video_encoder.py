"""A video encoder on its own: crop and normalisation inside, its description beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from avtrain.data.augment import IMAGENET_MEAN, IMAGENET_STD
from avtrain.data.clips import picture_pieces
from avtrain.inference.description import Description
from avtrain.inference.loading import loaded, num_outputs, projected
from avtrain.models.encoder import place


class VideoEncoder(nn.Module):
    """Pictures as stored, uint8 [B, T, H, W, 3] -> features float32 [B, num_features].

    Crop and normalisation are inside; the features are the encoder's own, or, with `head`, its unit vectors in the
    common space. The user's own encoder may take no other T than it was trained on.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, description: Description, head: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.description, self.head = network, description, head
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN))
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD))

    @property
    def num_features(self) -> int:
        """Width of the features."""
        return num_outputs(self.network, self.head)

    @property
    def frame_size(self) -> int:
        """Height and width of its pictures in px."""
        return int(self.description.video["frame_size"])

    @property
    def frame_rate_hz(self) -> int:
        """Pictures a second."""
        return int(self.description.video["frame_rate_hz"])

    @property
    def window_pictures(self) -> int:
        """Pictures of a window in training, of those that it takes."""
        return int(self._config.get("window_frames", 0)) or self.frame_rate_hz // 2

    @property
    def frame_stride(self) -> int:
        """It takes every so many-th of the stored pictures, as in training."""
        return int(self._config.get("frame_stride", 1))

    @property
    def _config(self) -> dict[str, Any]:
        return self.description.training["config"]

    def normalised(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [B, T, H, W, 3] -> the network's input float32 [B, 3, T, H, W]."""
        size = int(self._config.get("crop_size", 0))
        if 0 < size < frames.shape[3]:
            first = (frames.shape[3] - size) // 2
            frames = frames[:, :, first : first + size, first : first + size]
        return ((frames.float() - self.mean) / self.std).permute(0, 4, 1, 2, 3)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return projected(self.network(self.normalised(frames[:, :: self.frame_stride])), self.head)

    @torch.no_grad()
    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Features float32 [B, num_features] of pictures uint8 [B, T, H, W, 3]; bounded memory however long T is.

        Up to 10 s (160 pictures at 16 a second) go through the encoder at once. Of longer clips, and of the user's own
        encoder, they are the mean of those of evenly spread windows as in training, as many as cover the clip; shorter
        clips are padded with their last picture.
        """
        frames = frames[:, :: self.frame_stride]
        length = frames.shape[1]
        whole = ":" not in self.description.model
        sums: torch.Tensor | float = 0.0
        _, starts, lengths = picture_pieces(np.array([length]), self.window_pictures, whole)
        for start, pictures in zip(starts.tolist(), lengths.tolist(), strict=True):
            positions = np.minimum(np.arange(start, start + pictures), length - 1)
            piece = torch.from_numpy(np.ascontiguousarray(frames[:, positions])).to(self.mean.device)
            sums = sums + self.network(self.normalised(piece))
        return projected(torch.as_tensor(sums) / len(starts), self.head).cpu().numpy()


def load_video_encoder(
    folder: Path | str, device: str = "cpu", weights: str = "auto", *, projection: bool | None = None
) -> VideoEncoder:
    """The video encoder, in eval mode, of a run (its newest checkpoint), a checkpoint, or what avtrain export wrote.

    As `load_encoder`. Errors: UserError, also where the run trained no video encoder.
    """
    return place(loaded(VideoEncoder, folder, "video", weights, projection), device)
