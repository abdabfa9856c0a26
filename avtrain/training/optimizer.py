"""The optimiser of a run, and its learning rate as a function of the update."""

from __future__ import annotations

import math

import torch

from avtrain.config import PretrainConfig
from avtrain.models.two_tower import TwoTower


def optimiser_of(model: TwoTower, config: PretrainConfig) -> torch.optim.Adam:
    """Adam over all weights; a learnt temperature is in a group of its own, without weight decay."""
    groups: list[dict[str, object]] = [
        {"params": [weights for name, weights in model.named_parameters() if not name.startswith("temperature.")]}
    ]
    if model.temperature is not None:
        groups.append({"params": list(model.temperature.parameters()), "weight_decay": 0.0})
    return torch.optim.Adam(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def learning_rate_at(step: int, total: int, config: PretrainConfig) -> float:
    """The learning rate of update `step` (from 0) of `total`.

    It rises in equal parts over `warmup_steps` updates, the last of which has it whole; then it stays, or falls along
    half a cosine that would be 0 at update `total`.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    through = (step - config.warmup_steps) / (total - config.warmup_steps)
    return config.learning_rate * (1 + math.cos(math.pi * through)) / 2
