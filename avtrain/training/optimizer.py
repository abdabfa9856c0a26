"""The optimiser of a run, and its learning rate as a function of the update."""

from __future__ import annotations

import math

import torch

from avtrain.config import PretrainConfig
from avtrain.models.two_tower import TwoTower

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
FUSED_ON = ("cuda",)
"""kinds of devices on which an update is one kernel for many weights; elsewhere results are to stay, bit for bit"""


def optimiser_of(model: TwoTower, config: PretrainConfig) -> torch.optim.Optimizer:
    """The optimizer of a config over all weights that are not frozen.

    A learnt temperature has no weight decay, nor, without `decay_norms`, have weights of fewer than two dimensions: the
    scales and shifts of norms, and biases. It is fused where all weights are on a device of FUSED_ON.
    """
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, weights in model.named_parameters():
        if not weights.requires_grad:
            continue
        kept = name.startswith("temperature.") or (weights.dim() < 2 and not config.decay_norms)
        (free if kept else decayed).append(weights)
    groups: list[dict[str, object]] = [{"params": decayed}]
    if free:
        groups.append({"params": free, "weight_decay": 0.0})
    fused = all(weights.device.type in FUSED_ON for weights in (*decayed, *free))
    options = {"lr": config.learning_rate, "weight_decay": config.weight_decay, **({"fused": True} if fused else {})}
    return OPTIMIZERS[config.optimizer](groups, **options)


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
