"""An encoder as a network with a known width, and its way to a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""of red, green and blue from 0 to 1: what all pictures are normalised by"""

Module = TypeVar("Module", bound=nn.Module)


class Encoder(nn.Module):
    """Media -> features [B, num_features]: a network that is not ours, with the width that it gives."""

    def __init__(self, network: nn.Module, num_features: int) -> None:
        super().__init__()
        self.network, self.num_features = network, num_features

    def forward(self, media: torch.Tensor) -> torch.Tensor:
        return self.network(media)


class Renormalise(nn.Module):
    """Pictures [B, 3, T, H, W] normalised by ImageNet's mean and deviation -> by those given, of values from 0 to 1."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        own = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], dtype=torch.float64)
        wanted = torch.tensor([list(mean), list(std)], dtype=torch.float64)
        scale, shift = own[1] / wanted[1], (own[0] - wanted[0]) / wanted[1]
        self.register_buffer("scale", scale.float().view(3, 1, 1, 1))
        self.register_buffer("shift", shift.float().view(3, 1, 1, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures * self.scale + self.shift


def place(module: Module, device: str) -> Module:
    """`module` on `device`, its 2D convolutions in channels-last order, which CPUs and tensor cores prefer."""
    module.to(device)
    for weights in module.parameters():
        if weights.dim() == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    return module
