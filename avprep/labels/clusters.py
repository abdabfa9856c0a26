"""k-means over features of clips, as a label column has them."""

from __future__ import annotations

import numpy as np


def clusters_of(features: np.ndarray, fitted: np.ndarray, count: int, seed: int) -> np.ndarray:
    """int32 [rows], 0 to count - 1: the nearest centre to each of features [rows, D] of k-means over the `fitted` ones.

    One thread, since sums in another order differ.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return KMeans(count, random_state=seed).fit(features[fitted]).predict(features)


def cluster_names(count: int) -> list[str]:
    """The class names of `count` clusters."""
    return [f"cluster-{number}" for number in range(count)]
