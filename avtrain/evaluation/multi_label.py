"""Scores where clips have any number of labels: average precision, area under the ROC curve, d', lwlrap; intervals.

Macro scores are means over the classes that have test clips (and, for the area, others that have not that class); micro
scores take every clip and class as one decision. Values are scikit-learn's. d' is sqrt(2) times the normal quantile of
the area, macro of the mean area (Hershey et al. 2017; Kong et al. 2020). lwlrap is the label-weighted label-ranking
average precision of DCASE 2019 task 2 (Fonseca et al. 2019): the mean over all labels of all clips of the precision at
that label in the clip's own ranking. Intervals are percentiles over resampled clips, or clusters (metrics.by_clusters).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from avtrain.evaluation.metrics import by_clusters
from avtrain.evaluation.resampling import drawn_weights, percentiles

RESAMPLES = 1_000
CELLS_AT_ONCE = 4_000_000
SCORES = ("average_precision", "auc", "d_prime")


def multi_label_scores(
    probabilities: np.ndarray, truth: np.ndarray, seed: int = 0, clusters: np.ndarray | None = None
) -> dict[str, Any]:
    """What result.json has of probabilities [N, C] against labels bool [N, C], of clips in clusters int [N].

    `mean_average_precision` and its `interval_95` are the macro score, the one to report; `macro`, `micro`: of each of
    SCORES and of `lwlrap` its `value` and `interval_95` (None where it is not defined or not finite); `per_class`: one
    entry a class, in order.
    """
    clusters = np.arange(len(truth)) if clusters is None else clusters
    by_cluster, note = by_clusters(clusters)
    units = clusters if by_cluster else np.arange(len(truth))
    per_class = class_scores(probabilities, truth)
    resampled = resampled_scores(probabilities, truth, units, seed)
    macro = {name: _mean([entry[name] for entry in per_class]) for name in ("average_precision", "auc")}
    micro = _of_decisions(probabilities.ravel(), truth.ravel())
    lwlrap = lwlrap_of(probabilities, truth)
    groups = len(np.unique(units))
    scores = {
        "macro": {name: _entry(macro[name], resampled[f"macro {name}"], groups) for name in macro},
        "micro": {name: _entry(micro[name], resampled[f"micro {name}"], groups) for name in macro},
        "lwlrap": _entry(lwlrap, resampled["lwlrap"], groups),
    }
    for kind in ("macro", "micro"):
        scores[kind]["d_prime"] = _transformed(scores[kind]["auc"])
    return {
        "mean_average_precision": scores["macro"]["average_precision"]["value"],
        "interval_95": scores["macro"]["average_precision"]["interval_95"],
        "interval_by": "clusters" if by_cluster else "clips",
        "interval_note": note,
        "test_clusters": len(np.unique(clusters)),
        "labels_per_clip": float(truth.sum() / len(truth)),
        **scores,
        "per_class": [{"clips": int(n), **entry} for n, entry in zip(truth.sum(axis=0), per_class, strict=True)],
    }


def class_scores(probabilities: np.ndarray, truth: np.ndarray) -> list[dict[str, float | None]]:
    """SCORES of each class, None where it has no clip (or all clips, for auc and d_prime)."""
    by_class: list[dict[str, float | None]] = []
    for scores, positive in zip(probabilities.T, truth.T, strict=True):
        entry = _of_decisions(scores, positive)
        by_class.append({**entry, "d_prime": d_prime(entry["auc"])})
    return by_class


def mean_average_precision_of(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The macro average precision of [N, C] against labels bool [N, C]."""
    from sklearn.metrics import average_precision_score

    some = truth.any(axis=0)
    return float(average_precision_score(truth[:, some], probabilities[:, some], average="macro"))


def d_prime(auc: float | None) -> float | None:
    """sqrt(2) times the normal quantile of an area under the ROC curve; None where that is not finite."""
    from scipy.stats import norm

    value = math.nan if auc is None else math.sqrt(2) * float(norm.ppf(auc))
    return value if math.isfinite(value) else None


def lwlrap_of(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The label-weighted label-ranking average precision of [N, C] against labels bool [N, C]."""
    from sklearn.metrics import label_ranking_average_precision_score

    weights = truth.sum(axis=1)
    return float(label_ranking_average_precision_score(truth, probabilities, sample_weight=weights))


def resampled_scores(
    probabilities: np.ndarray, truth: np.ndarray, units: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> dict[str, np.ndarray]:
    """Each score, float [resamples], of test clips drawn with replacement, whole `units` int [N] at once.

    The same seed draws the same clips, so that two runs can be compared draw by draw. Cost: O(N C) a resample; the
    order of the scores is sorted out once.
    """
    weights = drawn_weights(units, seed, resamples)
    by_score: dict[str, list[np.ndarray]] = {"average_precision": [], "auc": []}
    for scores, positive in zip(probabilities.T, truth.T, strict=True):
        if positive.any():
            precision, area = weighted(scores, positive, weights)
            by_score["average_precision"].append(precision)
            by_score["auc"].append(area)
    decisions = probabilities.ravel(), truth.ravel()
    clip = np.repeat(np.arange(len(truth)), truth.shape[1])
    micro = weighted(*decisions, weights, clip)
    ranked = label_precision_sums(probabilities, truth)
    with np.errstate(invalid="ignore"):
        lwlrap = (weights @ ranked) / (weights @ truth.sum(axis=1))
    return {
        **{f"macro {name}": _nan_mean(values) for name, values in by_score.items()},
        "micro average_precision": micro[0],
        "micro auc": micro[1],
        "lwlrap": lwlrap,
    }


def weighted(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray, clip: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(average precision, area under the ROC curve), float [R], of decisions under R weightings of the clips.

    scores float [D], positive bool [D], weights float [R, N]; decision d is of clip[d] (without `clip`, of clip d).
    Equal scores are taken together. nan where a weighting leaves no positive (for the area: or no negative). These are
    scikit-learn's with sample_weight, for many weightings at once.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    own, clips = positive[order], order if clip is None else clip[order]
    parts = []
    for part in np.array_split(weights, min(len(weights), 1 + len(weights) * len(scores) // CELLS_AT_ONCE)):
        drawn = part[:, clips]
        right = np.cumsum(drawn * own, axis=1, dtype=np.float64)[:, ends]
        ranked = np.cumsum(drawn, axis=1, dtype=np.float64)[:, ends]
        steps = np.diff(right, prepend=0, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(ranked > 0, right / ranked, 0.0)
            wrong = ranked - right
            rises = np.diff(wrong, prepend=0, axis=1)
            area = ((right - steps / 2) * rises).sum(axis=1) / (right[:, -1] * wrong[:, -1])
            parts.append(((steps * precision).sum(axis=1) / right[:, -1], area))
    return np.concatenate([one for one, _ in parts]), np.concatenate([other for _, other in parts])


def label_precision_sums(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float [N]: the sum over a clip's labels of the precision at each in the clip's ranking; ties count against."""
    from scipy.stats import rankdata

    among_all = rankdata(-probabilities, "max", axis=1)
    among_own = rankdata(np.where(truth, -probabilities, np.inf), "max", axis=1)
    return np.where(truth, among_own / among_all, 0.0).sum(axis=1)


def _of_decisions(scores: np.ndarray, positive: np.ndarray) -> dict[str, float | None]:
    """`average_precision` and `auc` of scores [D] against bool [D]; None where there is no positive (or negative)."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    some, all_ = bool(positive.any()), bool(positive.all())
    return {
        "average_precision": float(average_precision_score(positive, scores)) if some else None,
        "auc": float(roc_auc_score(positive, scores)) if some and not all_ else None,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _nan_mean(values: list[np.ndarray]) -> np.ndarray:
    """Mean over classes of scores [classes][R], of those that are defined in a resample."""
    table = np.array(values)
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        return np.where(known, table, 0.0).sum(axis=0) / known.sum(axis=0)


def _entry(value: float | None, resampled: np.ndarray, units: int) -> dict[str, Any]:
    """A score with its interval; None for what is not defined."""
    known = resampled[np.isfinite(resampled)]
    if value is None or not len(known):
        return {"value": value, "interval_95": None}
    return {"value": value, "interval_95": list(percentiles(known, units))}


def _transformed(auc: dict[str, Any]) -> dict[str, Any]:
    """The same entry as d', which rises with the area; None for an end that is not finite."""
    ends = auc["interval_95"]
    return {"value": d_prime(auc["value"]), "interval_95": None if ends is None else [d_prime(end) for end in ends]}
