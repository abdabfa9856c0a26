"""The loss that `--loss` names: one of ours, targets of the user's own from a file, or a function of the user's own."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avprep.shared.own_code import OwnCode, code_of, import_own
from avtrain.config.rules import is_own_loss
from avtrain.data.plans import pairs_in_file
from avtrain.sampling import ClipTable
from avtrain.training.losses import LOSSES, Loss, Temperature, similarities, weighted_cross_entropy
from avtrain.training.targets import PairBatch

TARGETS_PREFIX = "targets:"
TRIED = ((0, 0), (0, 1), (1, 1), (-1, -1), (2, 2), (0, -1))
"""labels of the pairs that a loss is tried on"""


@dataclass(frozen=True)
class ChosenLoss:
    """A loss, and what config.json of a run records of it beside its name."""

    function: Loss
    identity: dict[str, Any] = field(default_factory=dict)


def loss_of(text: str, dataset: Dataset, table: ClipTable) -> ChosenLoss:
    """The loss of a name of LOSSES, of `targets:FILE` or of `package:function`. Errors: UserError."""
    if text.startswith(TARGETS_PREFIX):
        targets = targets_of(Path(text.removeprefix(TARGETS_PREFIX)), dataset, table)
        return ChosenLoss(by_targets(targets), {"targets_digest": targets.digest})
    if is_own_loss(text):
        function = import_own(text, "a loss")
        if not inspect.isfunction(function):
            raise UserError(f"{text} is a class; a loss is a function of (video, audio, pairs, temperature).")
        code = code_of(text, function)
        loss = _guarded(code)
        _try(loss, code, table)
        return ChosenLoss(loss, {"loss_code": code.digest})
    return ChosenLoss(LOSSES[text])


@dataclass(frozen=True)
class GivenTargets:
    """Targets of some (sound, picture) pairs: keys int64 [P] in rising order, values float32 [P]."""

    keys: torch.Tensor
    values: torch.Tensor

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """Targets float32 [B, B] of picture i and sound j of a batch; not given: 0, for a pair itself 1."""
        wanted = _keys(rows[None, :, 0], rows[:, None, 1])
        keys, values = self.keys.to(rows.device), self.values.to(rows.device)
        position = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        given = keys[position] == wanted
        own = torch.eye(len(rows), device=rows.device)
        return torch.where(given, values[position], own)

    @property
    def digest(self) -> str:
        """Hex sha256 of keys and values."""
        return hashlib.sha256(self.keys.numpy().tobytes() + self.values.numpy().tobytes()).hexdigest()


def targets_of(path: Path, dataset: Dataset, table: ClipTable) -> GivenTargets:
    """The targets of a Parquet file: clip ids in `audio` and `video`, a number of 0 or more in `target`.

    Errors: UserError naming the file and what is wrong.
    """
    audio, video, targets = pairs_in_file(path, dataset, table, "target")
    if targets is None:
        raise UserError(f"{path} has no column 'target'; targets are numbers of 0 or more in it.")
    if not len(targets) or not (np.isfinite(targets) & (targets >= 0)).all():
        raise UserError(f"{path} has no targets, or some that are not finite or below 0.")
    keys, order = torch.sort(_keys(torch.from_numpy(audio), torch.from_numpy(video)), stable=True)
    if (keys.diff() == 0).any():
        raise UserError(f"{path} names one pair twice; give each pair of sound and picture one target.")
    return GivenTargets(keys, torch.tensor(targets)[order].float())


def by_targets(targets: GivenTargets) -> Loss:
    """The loss whose targets are given pair by pair."""

    def loss(
        video: torch.Tensor, audio: torch.Tensor, pairs: PairBatch, temperature: Temperature = 0.07
    ) -> torch.Tensor:
        return weighted_cross_entropy(similarities(video, audio, temperature), targets.of(pairs.rows), pairs.weights)

    return loss


def _keys(audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
    """int64: one number for each pair of dataset rows, which are below 2**31."""
    return audio << 32 | video


def _guarded(code: OwnCode) -> Loss:
    """The user's loss, checked to be a scalar; embeddings and temperature always have a part in it, if of factor 0."""

    def loss(
        video: torch.Tensor, audio: torch.Tensor, pairs: PairBatch, temperature: Temperature = 0.07
    ) -> torch.Tensor:
        with code.blamed("as a loss"):
            value = code.thing(video, audio, pairs, temperature)
        if not isinstance(value, torch.Tensor) or value.dim() != 0 or not value.is_floating_point():
            given = f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise UserError(f"{code.name} gave {given}; a loss gives one float, a tensor of no dimension.")
        return value + 0 * (video.sum() + audio.sum() + temperature)

    return loss


def _try(loss: Loss, code: OwnCode, table: ClipTable) -> None:
    """Raise UserError where a loss fails on a few pairs, or gives no gradient; nothing else is changed."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.from_numpy(np.resize(table.rows, len(TRIED)))
    labels = torch.tensor(TRIED)
    if table.lists is not None:  # which of three labels each side has
        labels = labels[:, :, None] == torch.arange(3)
    for weights in (None, torch.linspace(0.5, 1.5, len(TRIED))):
        pairs = PairBatch(labels, torch.stack([rows, rows], dim=1), weights)
        video, audio = (F.normalize(torch.randn(len(TRIED), 8, generator=draw)).requires_grad_() for _ in range(2))
        with torch.random.fork_rng(devices=[]):
            value = loss(video, audio, pairs, torch.tensor(0.07))
            with code.blamed("in its backward pass"):
                value.backward()
        if not value.isfinite() or not all(side.grad.isfinite().all() for side in (video, audio)):  # type: ignore[union-attr]
            raise UserError(f"{code.name} gave {value.item()} or gradients that are not finite for random embeddings.")
        if not any(side.grad.any() for side in (video, audio)):  # type: ignore[union-attr]
            raise UserError(f"{code.name} gives the embeddings no gradient, so nothing would be learnt from it.")
