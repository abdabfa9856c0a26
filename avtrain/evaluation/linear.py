"""A linear layer on the cached features of a frozen encoder: trained in seconds, learning rate and epoch chosen."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from avprep.shared.errors import UserError
from avtrain.data.splits import Split
from avtrain.evaluation.features import Source, clip_and_window_features, window_features
from avtrain.evaluation.finetune import Fitting
from avtrain.evaluation.objective import Objective

LEARNING_RATES = (1e-3, 3e-3, 1e-2)


def linear(encoder: nn.Module, source: Source, split: Split, fitting: Fitting) -> tuple[dict[str, Any], torch.Tensor]:
    """(what was chosen, class probabilities of `clip_and_window_features`) of a linear layer on a frozen encoder.

    Each clip is encoded once, as `fitting.windows_per_clip` evenly spread windows, and standardised; Adam trains one
    layer from zeros for each of LEARNING_RATES, side by side (`fitting.learning_rate` plays no part). The rate and
    epoch of the least validation loss are tested, on whole clips. Errors: UserError where no validation loss is finite.
    """
    objective = source.objective(split.fit, fitting.balance)
    windows = np.repeat(split.fit, fitting.windows_per_clip)
    fit, fit_labels = window_features(encoder, source, split.fit, fitting.windows_per_clip)
    validation, validation_labels = window_features(encoder, source, split.validation, fitting.windows_per_clip)
    mean, std = fit.mean(0), fit.std(0).clamp_min(1e-6)
    fit, validation = (fit - mean) / std, (validation - mean) / std
    heads = [_from_zeros(fit.shape[1], source.classes).to(source.device) for _ in LEARNING_RATES]
    groups = [{"params": [*head.parameters()], "lr": rate} for head, rate in zip(heads, LEARNING_RATES, strict=True)]
    optimiser = torch.optim.Adam(groups, weight_decay=fitting.weight_decay, fused=True)
    best: tuple[float, dict[str, Any], nn.Linear] | None = None
    for epoch in range(fitting.epochs):
        order = torch.from_numpy(objective.order(windows, np.random.default_rng([fitting.seed, epoch])))
        for batch in order.to(source.device).split(fitting.batch_size):
            loss = _losses(heads, fit[batch], fit_labels[batch], objective).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            scores = _losses(heads, validation, validation_labels, objective).tolist()
        for score, rate, head in zip(scores, LEARNING_RATES, heads, strict=True):
            if math.isfinite(score) and (best is None or score < best[0]):
                best = score, {"learning_rate": rate, "epoch": epoch, "validation_loss": score}, copy.deepcopy(head)
    if best is None:
        raise UserError(
            f"No validation loss on {source.dataset.folder} was finite, at any learning rate: the encoder's features "
            "are not, as after training that went too far; take an earlier checkpoint."
        )
    with torch.no_grad():
        tested = best[2]((clip_and_window_features(encoder, source, split.test) - mean) / std)
    return best[1], objective.probabilities(tested)


def _from_zeros(width: int, classes: int) -> nn.Linear:
    head = nn.Linear(width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _losses(heads: list[nn.Linear], features: torch.Tensor, labels: torch.Tensor, objective: Objective) -> torch.Tensor:
    """Mean loss of each head, all in one product: their gradients do not mix."""
    weight, bias = torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])
    logits = F.linear(features, weight, bias).view(len(features) * len(heads), -1)
    losses = objective.losses(logits, labels.repeat_interleave(len(heads), dim=0))
    return losses.view(len(features), len(heads)).mean(0)
