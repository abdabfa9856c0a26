"""An encoder as a network with a known width, and its way to a device."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class Encoder(nn.Module):
    """Media -> features [B, num_features]: a network that is not ours, with the width that it gives."""

    def __init__(self, network: nn.Module, num_features: int) -> None:
        super().__init__()
        self.network, self.num_features = network, num_features

    def forward(self, media: torch.Tensor) -> torch.Tensor:
        return self.network(media)


def place(module: Module, device: str) -> Module:
    """`module` on `device`, its 2D convolutions in channels-last order, which CPUs and tensor cores prefer."""
    module.to(device)
    for weights in module.parameters():
        if weights.dim() == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    return module
