"""Nearest neighbours among the features of a frozen encoder: a classifier that is not trained."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from avtrain.data.splits import Split
from avtrain.evaluation.features import Source, clip_and_window_features, clip_features, window_features

NEIGHBOURS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURE = 0.07
QUERIES_AT_ONCE = 1024


def knn_probabilities(
    bank: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, neighbours: tuple[int, ...], classes: int
) -> dict[int, torch.Tensor]:
    """{k: class probabilities [Q, classes]} for each k of `neighbours` (k above the bank's size: all of it).

    The k windows of the bank [N, D] with the greatest cosine to a query [Q, D] vote for their labels int64 [N] with
    weight exp(cosine / 0.07) (Wu et al. 2018).
    """
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    most = min(max(neighbours), len(bank))
    out: dict[int, list[torch.Tensor]] = {k: [] for k in neighbours}
    for part in queries.split(QUERIES_AT_ONCE):
        cosine, nearest = (part @ bank.T).topk(most, dim=1)
        votes = ((cosine - 1) / TEMPERATURE).exp()  # less 1 before exp: no overflow, the same shares
        for k, parts in out.items():
            total = votes.new_zeros(len(part), classes).scatter_add_(1, labels[nearest[:, :k]], votes[:, :k])
            parts.append(total / total.sum(dim=1, keepdim=True))
    return {k: torch.cat(parts) for k, parts in out.items()}


def knn(encoder: nn.Module, source: Source, split: Split, windows_per_clip: int) -> tuple[dict[str, Any], torch.Tensor]:
    """(what was chosen, class probabilities of `clip_and_window_features`) of a frozen encoder, nothing trained.

    The bank holds evenly spread windows of the clips to fit on, queries are whole clips; features are standardised by
    the bank's mean and deviation. k, counted in windows, is the one with the best validation accuracy, the smaller of
    equals; the temperature is fixed.
    """
    bank, labels = window_features(encoder, source, split.fit, windows_per_clip)
    mean, std = bank.mean(0), bank.std(0).clamp_min(1e-6)
    bank = (bank - mean) / std
    truth = source.labels(split.validation)
    queries = (clip_features(encoder, source, split.validation) - mean) / std
    tried = tuple(k for k in NEIGHBOURS if k <= len(bank))
    by_k = knn_probabilities(bank, labels, queries, tried, source.classes)
    accuracy = {k: float((p.argmax(1) == truth).double().mean()) for k, p in by_k.items()}
    best = max(tried, key=lambda k: (accuracy[k], -k))
    tested = (clip_and_window_features(encoder, source, split.test) - mean) / std
    probabilities = knn_probabilities(bank, labels, tested, (best,), source.classes)[best]
    chosen = {"neighbours": best, "temperature": TEMPERATURE, "validation_accuracy": accuracy[best]}
    return chosen, probabilities
