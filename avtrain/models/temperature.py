"""The temperature of a contrastive loss, where it is learnt."""

from __future__ import annotations

import math

import torch
from torch import nn

from avprep.shared.errors import UserError


class Temperature(nn.Module):
    """() -> the temperature, learnt as CLIP does (Radford et al. 2021): exp(-log_scale), never under 0.01 or over 1.

    `log_scale` = ln(1 / t) is the parameter, put back into [0, ln 100] before each use; the gradient at a bound lives.
    Errors: UserError where it would start outside.
    """

    def __init__(self, initial: float = 0.07) -> None:
        super().__init__()
        if not 0.01 <= initial <= 1:
            raise UserError(f"A learnt temperature starts between 0.01 and 1, not at {initial}.")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(initial)))

    def forward(self) -> torch.Tensor:
        with torch.no_grad():
            self.log_scale.clamp_(0.0, math.log(100.0))
        return torch.exp(-self.log_scale)
