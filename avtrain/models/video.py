"""Video encoders: torchvision's R(2+1)D-18, and a small one of the same idea for CPUs."""

from __future__ import annotations

import torch
from torch import nn

from avtrain.models.audio import initialise


class R2Plus1D18(nn.Module):
    """Pictures [B, 3, T, H, W] -> features [B, 512]: torchvision's r2plus1d_18, average pool; 31.3 M parameters."""

    num_features = 512

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.video import r2plus1d_18

        self.network = r2plus1d_18(weights=None)
        self.network.fc = nn.Identity()

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return self.network(video)


class TinyVideo(nn.Module):
    """Pictures [B, 3, T, H, W] -> features [B, 64]: three (2+1)D layers, average pool; for 32 to 64 px on a CPU.

    Each layer is a spatial convolution over all pictures, then one over time. Weights as in AudioCNN.
    """

    num_features = 64

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [_Layer(3, 16, kernel=7, stride=4), _Layer(16, 32, kernel=3, stride=2), _Layer(32, 64, kernel=3, stride=2)]
        )
        initialise(self)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        batch, _, length, _, _ = video.shape
        pictures = video.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            pictures = layer(pictures, length)
        return pictures.mean(dim=(2, 3)).view(batch, length, -1).mean(dim=1)


class _Layer(nn.Module):
    """Pictures [B * T, C, H, W] -> [B * T, width, H / stride, W / stride], mixed over T."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(inputs, width, kernel, stride, padding=kernel // 2, bias=False)
        self.space_norm = nn.BatchNorm2d(width)
        self.time = nn.Conv2d(width, width, (3, 1), padding=(1, 0), bias=False)
        self.time_norm = nn.BatchNorm2d(width)

    def forward(self, pictures: torch.Tensor, length: int) -> torch.Tensor:
        # channels last throughout: the two reshapes below are then views, and CPUs convolve 1.5x faster
        seen = torch.relu_(self.space_norm(self.space(pictures)))
        count, width, height, breadth = seen.shape
        by_time = seen.permute(0, 2, 3, 1).reshape(-1, length, height * breadth, width).permute(0, 3, 1, 2)
        mixed = torch.relu_(self.time_norm(self.time(by_time)))
        return mixed.permute(0, 2, 3, 1).reshape(count, height, breadth, width).permute(0, 3, 1, 2)
