"""Retrieval scores from embeddings: the rank of a query's own partner, and of the first item of its class."""

from __future__ import annotations

from typing import Any

import numpy as np

CUTS = (1, 5, 10)
QUERIES_AT_ONCE = 1024


def ranks(queries: np.ndarray, items: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pair rank, class rank) int64 [N] of each query among all items, 1 the best; ties and nan count against.

    queries, items float [N, D] (row i of one belongs to row i of the other), labels int [N], or bool [N, C] where a
    clip may have several: then any common label makes a class. The pair rank is that of
    the query's own item; the class rank that of the best item of its class, its own among them: 1 + the items of other
    classes that are not less similar. Memory: 1024 queries by N at once.
    """
    pair, of_class = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(first, first + QUERIES_AT_ONCE)
        similarity = queries[part] @ items.T
        at = np.arange(len(similarity))
        own = similarity[at, at + first][:, None]
        pair[part] = (~(similarity < own)).sum(axis=1)
        same = same_class(labels, part)
        best = np.where(same, similarity, -np.inf).max(axis=1, keepdims=True)
        of_class[part] = 1 + (~same & ~(similarity < best)).sum(axis=1)
    return pair, of_class


def same_class(labels: np.ndarray, part: slice) -> np.ndarray:
    """bool [part, N]: whether clips of `part` have a label of each of the others, labels int [N] or bool [N, C]."""
    if labels.ndim == 1:
        return labels[part, None] == labels[None, :]
    counts = labels.astype(np.float32)
    return counts[part] @ counts.T > 0


def rank_scores(rank: np.ndarray) -> dict[str, float]:
    """Recall at 1, 5 and 10 and the median of ranks int [N]."""
    return {f"recall_at_{k}": float(np.mean(rank <= k)) for k in CUTS} | {"median_rank": float(np.median(rank))}


def class_chance(labels: np.ndarray, k: int) -> float:
    """Chance that k items drawn at random hold one of the query's class, mean over the queries' labels.

    Those are int [N], or bool [N, C] where a clip may have several.
    """
    from scipy.stats import hypergeom

    if labels.ndim == 2:
        blocks = range(0, len(labels), QUERIES_AT_ONCE)
        alike = [same_class(labels, slice(first, first + QUERIES_AT_ONCE)).sum(axis=1) for first in blocks]
        missed_all = hypergeom.pmf(0, len(labels), np.concatenate(alike), min(k, len(labels)))
        return float(np.mean(1 - missed_all))
    of_class = np.unique(labels, return_counts=True)[1]
    missed = hypergeom.pmf(0, len(labels), of_class, min(k, len(labels)))
    return float(np.sum(of_class * (1 - missed)) / len(labels))


def retrieval_scores(audio: np.ndarray, video: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Scores of both directions, at the level of pairs and of classes, with chance beside them.

    audio, video float [N, D] of unit length, labels int [N]. The class level counts any item of the query's class.
    """
    of_audio, of_video = ranks(audio, video, labels), ranks(video, audio, labels)
    count = len(labels)
    return {
        "clips": count,
        "audio_to_video": {"pair": rank_scores(of_audio[0]), "class": rank_scores(of_audio[1])},
        "video_to_audio": {"pair": rank_scores(of_video[0]), "class": rank_scores(of_video[1])},
        "chance": {
            "pair": {f"recall_at_{k}": min(k / count, 1.0) for k in CUTS} | {"median_rank": (count + 1) / 2},
            "class": {f"recall_at_{k}": class_chance(labels, k) for k in CUTS},
        },
    }
