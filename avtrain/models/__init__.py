"""Encoders and what stands on them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def place(module: Module, device: str) -> Module:
    """`module` on `device`, its 2D convolutions in channels-last order, which CPUs and tensor cores prefer."""
    module.to(device)
    for weights in module.parameters():
        if weights.dim() == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    return module
