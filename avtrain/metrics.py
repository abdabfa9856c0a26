"""Scores and their uncertainty."""

from __future__ import annotations

import math

import numpy as np

Z_95 = 1.959964


def accuracy_interval(correct: np.ndarray, z: float = Z_95) -> tuple[float, float, float]:
    """(accuracy, low, high) of outcomes bool [N] with Wilson's 95 % score interval (Wilson 1927)."""
    count, share = len(correct), float(np.mean(correct))
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return share, max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(values: list[float]) -> tuple[float, float]:
    """(mean, half-width of Student's 95 % interval) of independent values; half-width nan for one value."""
    if len(values) < 2:
        return float(np.mean(values)), math.nan
    from scipy.stats import t

    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)), float(t.ppf(0.975, len(values) - 1)) * error


def recall_at(similarity: np.ndarray, k: int) -> float:
    """Share of queries (rows of [N, N]) whose own column is among the k most similar; ties and nan count against."""
    own = np.diag(similarity)[:, None]
    rank = (~(similarity < own)).sum(axis=1) - 1
    return float(np.mean(rank < k))
