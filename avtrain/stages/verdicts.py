"""What neighbours make of clips' labels, and the one rule by which a label is kept, changed, given or set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NONE = -1
ROWS_AT_ONCE = 4096
EQUAL = 1e-9  # shares that differ by less are equal


@dataclass(frozen=True)
class Verdict:
    """The label int32 [N] that a judge gives each clip (-1: none), with its share or probability float64 [N]."""

    label: np.ndarray
    probability: np.ndarray


def voted(
    labels: np.ndarray,
    similarities: np.ndarray,
    given: np.ndarray,
    sizes: np.ndarray,
    *,
    temperature: float = 0.0,
    balance: bool = False,
) -> Verdict:
    """The label with the greatest share of the votes of each clip's neighbours, and that share.

    `labels` int [N, k] and `similarities` [N, k] are the neighbours'; they vote with weight exp(similarity /
    temperature), 0: all alike; `balance` divides each vote by the `sizes` [classes], clips of a label. Where the clip's
    own label `given` int [N] (-1: none) is among equals it wins; other equals are no verdict.
    """
    label, probability = np.empty(len(labels), np.int32), np.empty(len(labels), np.float64)
    for begin in range(0, len(labels), ROWS_AT_ONCE):
        rows = slice(begin, begin + ROWS_AT_ONCE)
        votes: np.ndarray = np.ones(labels[rows].shape)
        if temperature:
            votes = np.exp((similarities[rows] - similarities[rows].max(axis=1, keepdims=True)) / temperature)
        if balance:
            votes = votes / sizes[labels[rows]]
        clip = np.repeat(np.arange(len(votes)), votes.shape[1])
        cells = clip * len(sizes) + labels[rows].reshape(-1)
        sums = np.bincount(cells, votes.reshape(-1), len(votes) * len(sizes)).reshape(len(votes), len(sizes))
        shares = sums / sums.sum(axis=1, keepdims=True)
        most, mine = shares.max(axis=1), given[rows]
        best = np.where((shares >= most[:, None] - EQUAL).sum(axis=1) == 1, shares.argmax(axis=1), NONE)
        own = np.where(mine >= 0, shares[np.arange(len(votes)), mine], -1.0)
        label[rows] = np.where(own >= most - EQUAL, mine, best)
        probability[rows] = most
    return Verdict(label, probability)


def decided(given: np.ndarray, verdicts: Sequence[Verdict], take: float) -> tuple[np.ndarray, np.ndarray]:
    """(label int32 [N], probability float32 [N]) of clips: the one on which all verdicts agree, else none (-1).

    That is enough for a clip's label `given` int [N] (-1: none); another takes the share `take` or more in each. The
    probability is the smallest of the verdicts.
    """
    label = verdicts[0].label.copy()
    probability = np.minimum.reduce([verdict.probability for verdict in verdicts])
    for verdict in verdicts[1:]:
        label[verdict.label != label] = NONE
    label[(label != given) & (probability < take - EQUAL)] = NONE
    return label, probability.astype(np.float32)
