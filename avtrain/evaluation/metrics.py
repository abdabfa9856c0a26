"""Scores of one run and their uncertainty.

Two 95 % intervals of a share: Wilson's, which is the one reported (it covers at 50 clips and near 0 or 1 too), and the
percentile bootstrap beside it (at 50 clips and an accuracy of 0.95 it covers 91 % of the time; from 200 clips on both
cover 94 to 96 %). Both take clips as independent. Where several test clips are of one group (recording, speaker),
Wilson's is taken with the number of independent clips that would vary as much (`group_interval`): simulated, it covers
93 to 98 % from 8 groups on, in the cautious direction where groups are few or small. From fewer than FEW_CLUSTERS it
is hardly of use (from one: 0 to 1), so that `reported_interval` takes clips as independent there, with a note.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Z_95 = 1.959964
FEW_CLUSTERS = 8
RESAMPLES = 10_000
BOOTSTRAP = 0xB007  # the stream of random numbers of resamples; never change it


def accuracy_interval(correct: np.ndarray, z: float = Z_95) -> tuple[float, float, float]:
    """(accuracy, low, high) of outcomes bool [N] with Wilson's 95 % score interval (Wilson 1927)."""
    return wilson(float(np.mean(correct)), len(correct), z)


def wilson(share: float, count: float, z: float = Z_95) -> tuple[float, float, float]:
    """(share, low, high) of an accuracy `share` over `count` clips: Wilson's score interval."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return share, max(0.0, centre - half), min(1.0, centre + half)


def group_interval(correct: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    """(accuracy, low, high) of outcomes bool [N] whose clips are alike within groups int [N]; 95 %.

    Wilson's with Student's quantile and the effective number of clips: the one at which independent clips would have
    the variance between groups (linearised), between the number of groups and of clips. Where every clip is a
    group, accuracy_interval. Korn and Graubard 1998 have the idea. Of one group alone: (accuracy, 0, 1).
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == len(correct):
        return accuracy_interval(correct)
    share, count = float(np.mean(correct)), len(sizes)
    if count == 1:
        return share, 0.0, 1.0
    from scipy.stats import t

    gaps = np.bincount(group, weights=correct) - share * sizes
    variance = count / (count - 1) * float(np.sum(gaps**2)) / len(correct) ** 2
    independent = min(max(share * (1 - share) / variance, count), len(correct)) if variance else count
    return wilson(share, independent, float(t.ppf(0.975, count - 1)))


def by_clusters(clusters: np.ndarray) -> tuple[bool, str]:
    """(whether intervals and tests of test clips go by these clusters int [N], or by clips; why by clips, if need be).

    By clips where each is a cluster of its own, and where there are fewer than FEW_CLUSTERS.
    """
    count = len(np.unique(clusters))
    if count == len(clusters):
        return False, ""
    if count >= FEW_CLUSTERS:
        return True, ""
    named = "one cluster" if count == 1 else f"{count} clusters"
    return False, (
        f"the {len(clusters):,} test clips are of {named}, from which no variance between clusters can be estimated "
        f"({FEW_CLUSTERS} are needed); clips are taken as independent, so the interval is too narrow where they are not"
    )


def reported_interval(correct: np.ndarray, clusters: np.ndarray) -> tuple[float, float, float]:
    """(accuracy, low, high) to report of outcomes bool [N]: by cluster int [N] or by clips, as in `by_clusters`."""
    return group_interval(correct, clusters) if by_clusters(clusters)[0] else accuracy_interval(correct)


def bootstrap_interval(correct: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """(low, high) of the accuracy of outcomes bool [N]: percentiles 2.5 and 97.5 over resampled clips.

    The right ones among N clips drawn with replacement are binomial, so one number a resample is drawn, not N.
    """
    count = len(correct)
    draw = np.random.default_rng([seed, BOOTSTRAP])
    low, high = np.percentile(draw.binomial(count, np.mean(correct), resamples) / count, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: list[float]) -> tuple[float, float]:
    """(mean, half-width of Student's 95 % interval) of independent values; half-width nan for one value."""
    if len(values) < 2:
        return float(np.mean(values)), math.nan
    from scipy.stats import sem, t

    return float(np.mean(values)), float(t.ppf(0.975, len(values) - 1) * sem(values))


def in_top(probabilities: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """bool [N]: is the true class among the k most probable of [N, C]? Ties and nan count against."""
    own = np.take_along_axis(probabilities, truth[:, None].astype(np.int64), axis=1)
    return (~(probabilities < own)).sum(axis=1) <= k


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean over the positive clips of the precision at their score; equal scores are taken together.

    scores float [N], positive bool [N]. Errors: ValueError without a positive clip.
    """
    if not positive.any():
        raise ValueError("average precision needs a positive clip")
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(positive, scores))


def mean_average_precision(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes that occur in `truth` int [N] of the average precision of [N, C]."""
    return float(np.mean([average_precision(probabilities[:, c], truth == c) for c in np.unique(truth)]))


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 [C, C]: clips by true class (rows) and predicted class (columns)."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(truth, predicted, labels=np.arange(classes))


def classification_scores(
    probabilities: np.ndarray, truth: np.ndarray, seed: int = 0, clusters: np.ndarray | None = None
) -> dict[str, Any]:
    """The scores of class probabilities [N, C] against true classes int [N], of clips in clusters int [N].

    `interval_95` is reported_interval's, `interval_by` whether it is by "clusters" or "clips", `interval_note` why not
    by clusters although clips share some (else empty); `bootstrap_95` the percentile bootstrap over clips;
    `mean_average_precision` and `balanced_accuracy` are means over the classes that have test clips; `per_class` has
    one entry a class, in order.
    """
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    right = predicted == truth
    clusters = np.arange(len(right)) if clusters is None else clusters
    accuracy, low, high = reported_interval(right, clusters)
    by_cluster, note = by_clusters(clusters)
    per_class = [_of_class(right[truth == c]) for c in range(classes)]
    return {
        "accuracy": accuracy,
        "interval_95": [low, high],
        "interval_by": "clusters" if by_cluster else "clips",
        "interval_note": note,
        "test_clusters": len(np.unique(clusters)),
        "bootstrap_95": list(bootstrap_interval(right, seed)),
        "top_5": float(in_top(probabilities, truth, 5).mean()) if classes > 5 else None,
        "mean_average_precision": mean_average_precision(probabilities, truth),
        "balanced_accuracy": float(np.mean([entry["accuracy"] for entry in per_class if entry["clips"]])),
        "per_class": per_class,
        "confusion": confusion(truth, predicted, classes).tolist(),
    }


def _of_class(right: np.ndarray) -> dict[str, Any]:
    if not len(right):
        return {"clips": 0, "accuracy": None, "interval_95": None}
    accuracy, low, high = accuracy_interval(right)
    return {"clips": len(right), "accuracy": accuracy, "interval_95": [low, high]}
