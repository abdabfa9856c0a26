"""What a classifier is fitted to: one label a clip (softmax, cross-entropy) or several (sigmoids, binary ones).

`balance` makes up for unequal classes among the clips to fit on. `weights`: with one label, the loss of a clip weighs
in inverse proportion to its class; with several, the positives of a class weigh as much in all as its negatives,
between 1 / MOST_WEIGHT and MOST_WEIGHT for each. `sampling`: clips are drawn with replacement, each class as often.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
import torch.nn.functional as F

from avprep.dataset import LabelColumn
from avprep.shared.errors import UserError
from avtrain.data.plans import table_of

MOST_WEIGHT = 100.0


def labels_of(column: LabelColumn, rows: np.ndarray, device: str) -> torch.Tensor:
    """The labels of rows of a dataset: int64 [rows], or float [rows, classes] of 0 and 1 where they may be several."""
    table = table_of(rows, column)
    if table.lists is None:
        return torch.from_numpy(table.labels.astype(np.int64)).to(device)
    return torch.from_numpy(table.lists.matrix(len(column.class_names)).astype(np.float32)).to(device)


class Objective(ABC):
    """The loss over labels as labels_of has them, and probabilities; made for the clips `fit`, int [clips] rows."""

    def __init__(self, column: LabelColumn, fit: np.ndarray, device: str, balance: str = "none") -> None:
        self.column, self.balance = column, balance
        groups = table_of(fit, column).groups
        self.counts = np.zeros(len(column.class_names))
        self.counts[groups.labels] = groups.sizes
        self.unfitted = torch.from_numpy(self.counts == 0).to(device)
        weights = torch.from_numpy(self._weights(len(fit)).astype(np.float32)).to(device)
        self.weights = weights if balance == "weights" else None

    @abstractmethod
    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each of logits [N, classes], float [N]."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss of logits [N, classes]."""

    @abstractmethod
    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Those of logits [N, classes]; 0 for a class that no clip to fit on is of."""

    @abstractmethod
    def _weights(self, clips: int) -> np.ndarray:
        """float [classes]: the weight of each class, of so many clips to fit on."""

    def order(self, rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """int64 [N]: how an epoch goes through things of the clips `rows`, int [N]; with `sampling` by class."""
        if self.balance != "sampling":
            return draw.permutation(len(rows))
        groups = table_of(rows, self.column).groups
        shares = np.zeros(len(rows))
        np.add.at(shares, groups.order, np.repeat(1 / groups.sizes, groups.sizes))
        return draw.choice(len(rows), len(rows), p=shares / shares.sum())


class OneLabel(Objective):
    """One label a clip."""

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, labels, self.weights, reduction="none")

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, labels, self.weights)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.masked_fill(self.unfitted.to(logits.device), -torch.inf).softmax(dim=1)

    def _weights(self, clips: int) -> np.ndarray:
        return clips / (np.count_nonzero(self.counts) * np.maximum(self.counts, 1))


class SeveralLabels(Objective):
    """Any number of labels a clip."""

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=self.weights).mean(dim=1)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.losses(logits, labels).mean()

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid().masked_fill(self.unfitted.to(logits.device), 0.0)

    def _weights(self, clips: int) -> np.ndarray:
        weights = (clips - self.counts) / np.maximum(self.counts, 1)
        return np.where(self.counts > 0, np.clip(weights, 1 / MOST_WEIGHT, MOST_WEIGHT), 1.0)


def objective_of(column: LabelColumn, fit: np.ndarray, device: str, balance: str, dataset: object) -> Objective:
    """The objective of a label column for the clips `fit` of the folder `dataset`.

    Errors: UserError where none of them has a label.
    """
    kind = OneLabel if column.lists is None else SeveralLabels
    objective = kind(column, fit, device, balance)
    if not objective.counts.any():
        raise UserError(f"No clip of {dataset} to fit on has a label in this column; choose another --labels.")
    return objective
