"""Retrieval scores against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import avtrain.evaluation.ranking
from avtrain.evaluation.knn import knn_probabilities
from avtrain.evaluation.ranking import class_chance, rank_scores, ranks, retrieval_scores


def slow_ranks(queries, items, labels):
    """Ranks by sorting, item by item; what ties with the wanted item stands before it."""
    pair, of_class = [], []
    for row, query in enumerate(queries):
        similarity = [sum(a * b for a, b in zip(query, item, strict=True)) for item in items]
        others = [s for at, s in enumerate(similarity) if at != row]
        pair.append(1 + sum(s >= similarity[row] for s in others))
        best = max(s for s, label in zip(similarity, labels, strict=True) if label == labels[row])
        of_class.append(1 + sum(s >= best for s, label in zip(similarity, labels, strict=True) if label != labels[row]))
    return pair, of_class


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 4))
def test_ranks_are_those_of_a_loop(seed, count, classes):
    draw = np.random.default_rng(seed)
    queries, items = draw.integers(-2, 3, (2, count, 3)).astype(float)  # small integers: exact, many ties
    labels = draw.integers(0, classes, count)
    pair, of_class = ranks(queries, items, labels)
    assert (pair.tolist(), of_class.tolist()) == slow_ranks(queries, items, labels)


def test_ranks_do_not_depend_on_how_many_queries_are_looked_up_at_once(monkeypatch):
    queries, items = np.random.default_rng(0).integers(-3, 4, (2, 50, 4)).astype(float)
    labels = np.arange(50) % 5
    whole = ranks(queries, items, labels)
    monkeypatch.setattr(avtrain.evaluation.ranking, "QUERIES_AT_ONCE", 7)
    for one, other in zip(whole, ranks(queries, items, labels), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_no_number_finds_nothing():
    items = np.eye(4)
    queries = items.copy()
    queries[0] = np.nan
    pair, of_class = ranks(queries, items, np.array([0, 0, 1, 1]))
    assert pair.tolist() == [4, 1, 1, 1]
    assert of_class.tolist() == [3, 1, 1, 1]


def test_recall_and_median_of_ranks():
    found = rank_scores(np.array([1, 2, 5, 6, 10, 11]))
    assert found == {
        "recall_at_1": pytest.approx(1 / 6),
        "recall_at_5": 0.5,
        "recall_at_10": pytest.approx(5 / 6),
        "median_rank": 5.5,
    }


def test_audio_asks_for_video_and_the_reverse():
    """Both sounds lie nearest to picture 0; each picture lies nearest to its own sound."""
    audio, video = np.array([[1.0, 0.0], [0.8, 0.6]]), np.eye(2)
    found = retrieval_scores(audio, video, np.array([0, 1]))
    assert found["audio_to_video"]["pair"]["recall_at_1"] == 0.5
    assert found["video_to_audio"]["pair"]["recall_at_1"] == 1
    assert found["audio_to_video"]["class"]["recall_at_1"] == 0.5
    assert retrieval_scores(audio, video, np.array([0, 0]))["audio_to_video"]["class"]["recall_at_1"] == 1


@pytest.mark.parametrize("k", [1, 2, 5, 22, 30])
def test_the_chance_of_finding_a_class_is_hypergeometric(k):
    sizes = np.array([2, 7, 20])
    drawn = min(k, 29)
    missed = np.array([math.comb(29 - int(size), drawn) / math.comb(29, drawn) for size in sizes])
    assert class_chance(np.repeat([0, 1, 2], sizes), k) == pytest.approx(np.sum(sizes * (1 - missed)) / 29)


def test_random_embeddings_score_at_chance():
    audio, video = np.random.default_rng(0).normal(size=(2, 1500, 16))
    labels = np.arange(1500) % 10
    found = retrieval_scores(audio, video, labels)
    for direction in ("audio_to_video", "video_to_audio"):
        for level, chance in found["chance"].items():
            for name, value in chance.items():
                assert found[direction][level][name] == pytest.approx(value, rel=0.08, abs=0.012)


def slow_knn(bank, labels, queries, k, classes):
    out = []
    for query in queries:
        cosine = [float(F.cosine_similarity(query, item, dim=0)) for item in bank]
        nearest = sorted(range(len(bank)), key=lambda at: -cosine[at])[:k]
        votes = [0.0] * classes
        for at in nearest:
            votes[labels[at]] += np.exp(cosine[at] / 0.07)
        out.append([vote / sum(votes) for vote in votes])
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize(("count", "width", "classes"), [(1, 3, 2), (9, 4, 3), (60, 8, 5)])
def test_neighbours_vote_as_in_a_loop(count, width, classes, monkeypatch):
    monkeypatch.setattr("avtrain.evaluation.knn.QUERIES_AT_ONCE", 4)
    draw = torch.Generator().manual_seed(count)
    bank, queries = (torch.randn(n, width, generator=draw, dtype=torch.float64) for n in (count, 11))
    labels = torch.randint(0, classes, (count,), generator=draw)
    found = knn_probabilities(bank, labels, queries, (1, 5, 20), classes)
    assert list(found) == [1, 5, 20]
    for k, probabilities in found.items():
        torch.testing.assert_close(probabilities, slow_knn(bank, labels.tolist(), queries, k, classes))
