"""Draws that depend on nothing beside: a name (a group, a clip id) has a number of its own, by a hash of seed and name.

A split drawn by a threshold on that number keeps every clip where it was, whatever clips come beside it and in whatever
order they are. The price is that shares are met on average only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

# Purposes, each a draw of its own.
SPLITS, VALIDATION, LABELS, SUBSET, RETRIEVAL = "splits", "validation", "labels", "subset", "retrieval"
FOLDS = "folds"


def fractions(names: Iterable[str], seed: int, purpose: str) -> np.ndarray:
    """float64 [N], evenly distributed in [0, 1): the number of each name, the same on every machine."""
    start = hashlib.blake2b(f"{seed}\0{purpose}\0".encode(), digest_size=8)
    values = []
    for name in names:
        state = start.copy()
        state.update(name.encode("utf-8", "surrogatepass"))
        values.append(int.from_bytes(state.digest(), "big") >> 11)
    return np.array(values, np.float64) / 2.0**53


def fractions_of(names: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """As `fractions`, of an array [N] in which names repeat: each is hashed once."""
    distinct, positions = np.unique(names, return_inverse=True)
    return fractions(map(str, distinct.tolist()), seed, purpose)[positions]


def fewest(labels: np.ndarray, names: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """int64 positions, in order, of `share` of the clips of each label (rounded, at least one), by lowest number.

    Groups come in the order of their numbers, as somebody would who labels whole recordings, the last one in part by
    the numbers of the clips' `names`. A smaller share of one seed is part of a larger one.
    """
    order = np.lexsort((fractions(names, seed, LABELS), fractions_of(groups, seed, LABELS)))
    chosen = [np.zeros(0, np.int64)]
    for one in np.unique(labels):
        clips = order[labels[order] == one]
        chosen.append(clips[: max(1, round(share * len(clips)))])
    return np.sort(np.concatenate(chosen))
