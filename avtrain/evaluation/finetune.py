"""Encoder and classifier trained together on labelled windows: finetuning, or from scratch."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from avprep.shared.commands import Progress
from avprep.shared.errors import UserError
from avtrain.data.augment import SpecAugment
from avtrain.data.splits import Split
from avtrain.evaluation.features import Source, clip_and_window_features, window_features
from avtrain.evaluation.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How encoder and head are trained; the defaults are the paper's."""

    epochs: int = 100
    """passes over the clips, one random window of each a pass"""
    patience: int = 0
    """passes after which training ends where the validation loss has not fallen; 0: it goes through all epochs"""
    batch_size: int = 64
    """windows in a batch"""
    learning_rate: float = 1e-4
    """of Adam, the same for encoder and head"""
    weight_decay: float = 1e-4
    """of Adam"""
    dropout: float = 0.0
    """share of the features set to 0 before the head, in training"""
    frozen: bool = False
    """train the head alone; the encoder stays in train mode, so its batch norm uses and follows the new data's
    statistics, as in the authors' released code"""
    windows_per_clip: int = 4
    """windows of a validation clip"""
    balance: str = "none"
    """of classes, as in Objective"""
    spec_augment: bool = False
    """mask bands and times of the sounds that are trained on"""
    seed: int = 0
    """of order, windows and masks"""


def fit_encoder(
    encoder: nn.Module, source: Source, split: Split, fitting: Fitting, what: str
) -> tuple[dict[str, Any], torch.Tensor]:
    """Train `encoder` and a new linear head; (what was chosen, class probabilities of `clip_and_window_features`).

    Cross-entropy (of several labels a clip: binary) on random windows, every weight trained at one learning rate, batch
    norm in train mode. The epoch of the least validation loss is tested, on whole clips. `what` names the progress bar.
    A last batch of one clip is left out: batch norm needs two. Errors: UserError with fewer than two clips, or where no
    validation loss is finite.
    """
    if len(split.fit) < 2:
        raise UserError(f"{source.dataset.folder} leaves fewer than two clips to train on; use more of its labels.")
    objective = source.objective(split.fit, fitting.balance)
    width = window_features(encoder, source, split.fit[:1], 1)[0].shape[1]
    head = nn.Linear(width, source.classes).to(source.device)
    parameters = [*encoder.parameters(), *head.parameters()]  # those without a gradient stay
    optimiser = torch.optim.Adam(parameters, lr=fitting.learning_rate, weight_decay=fitting.weight_decay)
    best: tuple[float, int, dict[str, Any]] | None = None
    with Progress(fitting.epochs, "epochs", what) as progress:
        for epoch in range(fitting.epochs):
            _one_epoch(encoder, head, optimiser, source, objective, split.fit, fitting, epoch)
            features, labels = window_features(
                encoder, source, split.validation, fitting.windows_per_clip, training=True
            )
            with torch.no_grad():
                loss = objective.loss(head(features), labels).item()
            if math.isfinite(loss) and (best is None or loss < best[0]):
                best = loss, epoch, copy.deepcopy({"encoder": encoder.state_dict(), "head": head.state_dict()})
            progress.advance()
            if fitting.patience and epoch - (-1 if best is None else best[1]) >= fitting.patience:
                break
    if best is None:
        raise UserError(
            f"No validation loss was a number at learning rate {fitting.learning_rate}; choose a lower one."
        )
    encoder.load_state_dict(best[2]["encoder"])
    head.load_state_dict(best[2]["head"])
    with torch.no_grad():
        probabilities = objective.probabilities(head(clip_and_window_features(encoder, source, split.test)))
    chosen = {"learning_rate": fitting.learning_rate, "epoch": best[1], "validation_loss": best[0]}
    chosen["epochs_trained"] = epoch + 1
    return chosen, probabilities


def _one_epoch(
    encoder: nn.Module,
    head: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: Source,
    objective: Objective,
    clips: np.ndarray,
    fitting: Fitting,
    epoch: int,
) -> None:
    encoder.train()
    order = objective.order(clips, np.random.default_rng([fitting.seed, epoch]))
    for first in range(0, len(order), fitting.batch_size):
        rows = clips[order[first : first + fitting.batch_size]]
        if len(rows) < 2:
            continue
        with torch.set_grad_enabled(not fitting.frozen):
            windows = source.random_windows(rows, fitting.seed, epoch)
            if fitting.spec_augment and isinstance(windows, torch.Tensor):
                count, _, length, bands = windows.shape
                masks = SpecAugment().masks(count, length, bands, fitting.seed, epoch, first // fitting.batch_size)
                windows = windows * masks.to(windows.device)
            features = encoder(windows)
        loss = objective.loss(head(F.dropout(features, fitting.dropout)), source.labels(rows))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
