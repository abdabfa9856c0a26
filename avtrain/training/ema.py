"""A moving average of the weights while they are trained; encoders with it are often better than with the last ones."""

from __future__ import annotations

import copy

import torch

from avtrain.models.two_tower import TwoTower


def average_of(model: TwoTower) -> TwoTower:
    """A copy of the model, in eval mode and without gradients, to `follow` it: the average of its weights so far."""
    return copy.deepcopy(model).requires_grad_(False).eval()


@torch.no_grad()
def follow(average: TwoTower, model: TwoTower, decay: float, updates: int) -> None:
    """Move every number of `average` towards that of `model`: average = d average + (1 - d) model.

    d is `decay`, and at the beginning (1 + n) / (10 + n) after n `updates`, so that the random first weights are soon
    forgotten. Statistics of batch norm are averaged in the same way; whole numbers, its counts, are copied.
    """
    share = 1 - min(decay, (1 + updates) / (10 + updates))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)
