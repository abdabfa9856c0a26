"""Scores and their uncertainty against known values, simulation and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from avtrain.evaluation.metrics import (
    accuracy_interval,
    average_precision,
    bootstrap_interval,
    classification_scores,
    confusion,
    group_interval,
    in_top,
    mean_average_precision,
    mean_interval,
)


def outcomes(right, count):
    return np.arange(count) < right


@pytest.mark.parametrize(("right", "count"), [(0, 10), (8, 10), (10, 10), (81, 263), (1, 1)])
def test_the_interval_of_an_accuracy_is_wilsons(right, count):
    share, low, high = accuracy_interval(outcomes(right, count))
    wilson = scipy.stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert share == right / count
    assert (low, high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


def test_a_published_example():
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I, Wilson's method)."""
    assert accuracy_interval(outcomes(81, 263))[1:] == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize("interval", [lambda right: accuracy_interval(right)[1:], bootstrap_interval])
@pytest.mark.parametrize(("count", "chance"), [(208, 0.5), (208, 0.9), (500, 0.2), (947, 0.55), (3645, 0.6)])
def test_intervals_cover_the_true_accuracy_in_93_to_97_of_100_cases(interval, count, chance):
    drawn = (np.random.default_rng(0).random((6000, count), dtype=np.float32) < chance).sum(axis=1)
    intervals = {right: interval(outcomes(right, count)) for right in np.unique(drawn)}
    covered = np.mean([intervals[right][0] <= chance <= intervals[right][1] for right in drawn])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize(("count", "chance"), [(50, 0.5), (50, 0.95), (60, 0.1), (60, 0.85)])
def test_the_reported_interval_covers_with_few_clips_too(count, chance):
    drawn = np.random.default_rng(0).binomial(count, chance, 6000)
    intervals = {right: accuracy_interval(outcomes(right, count))[1:] for right in np.unique(drawn)}
    assert 0.93 <= np.mean([intervals[right][0] <= chance <= intervals[right][1] for right in drawn]) <= 0.975


@pytest.mark.parametrize(
    ("groups", "size", "chance", "likeness"),
    [(8, 10, 0.5, 0.2), (20, 10, 0.8, 0.2), (30, 4, 0.9, 0.3), (50, 15, 0.6, 0.1), (100, 5, 0.95, 0.2)],
)
def test_the_interval_by_group_covers_where_groups_hang_together(groups, size, chance, likeness):
    """Each group has a chance of its own (beta), so its clips are alike; by clip the interval is far too narrow."""
    draw, covered, by_clip = np.random.default_rng(0), 0, 0
    scale = (1 - likeness) / likeness
    for _ in range(1200):
        of = np.repeat(np.arange(groups), 1 + draw.poisson(size - 1, groups))
        own = draw.beta(chance * scale, (1 - chance) * scale, groups)
        right = draw.random(len(of)) < own[of]
        (_, low, high), (_, low_by_clip, high_by_clip) = group_interval(right, of), accuracy_interval(right)
        covered += low <= chance <= high
        by_clip += low_by_clip <= chance <= high_by_clip
    assert 0.93 <= covered / 1200 <= 0.975
    assert by_clip / 1200 < 0.9


def test_a_group_of_each_clip_is_no_group():
    right = outcomes(150, 208)
    assert group_interval(right, np.arange(208)[::-1]) == accuracy_interval(right)
    assert group_interval(right, np.zeros(208, int)) == (150 / 208, 0, 1)
    assert group_interval(np.ones(20, bool), np.arange(20) // 2)[1:] == pytest.approx((0.6615, 1), abs=1e-3)


def test_the_bootstrap_resamples_clips():
    """Against clips drawn with replacement, one by one."""
    right = outcomes(150, 208)
    draw = np.random.default_rng(3)
    slow = np.percentile([right[draw.integers(0, 208, 208)].mean() for _ in range(4000)], [2.5, 97.5])
    assert bootstrap_interval(right) == pytest.approx(slow, abs=0.0075)  # a clip and a half
    assert bootstrap_interval(right) == bootstrap_interval(right[::-1])
    assert bootstrap_interval(outcomes(5, 5)) == (1, 1)


def test_the_interval_of_a_mean_is_students():
    values = [61.2, 63.9, 60.1]
    mean, half = mean_interval(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    assert half == pytest.approx(4.302652729749464 * deviation / math.sqrt(3), rel=1e-9)  # t of 0.975 at 2
    assert mean == pytest.approx(sum(values) / 3, rel=1e-12)


def test_one_value_has_no_interval():
    mean, half = mean_interval([0.5])
    assert mean == 0.5
    assert math.isnan(half)


def drawn_scores(seed, count=80, classes=6):
    """(probabilities [N, C] with ties, true classes that leave the last class out)."""
    draw = np.random.default_rng(seed)
    scores = draw.integers(1, 9, (count, classes)).astype(float)
    return scores / scores.sum(axis=1, keepdims=True), draw.integers(0, classes - 1, count)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_mean_precision_at_the_positive_clips(seed):
    """Equal scores are one place: the precision at a clip is that of all clips with its score or a greater one."""
    probabilities, truth = drawn_scores(seed)
    wanted = []
    for c in range(5):
        scores, positive = probabilities[:, c], truth == c
        wanted.append(np.mean([positive[scores >= score].mean() for score in scores[positive]]))
    assert [average_precision(probabilities[:, c], truth == c) for c in range(5)] == pytest.approx(wanted, rel=1e-12)
    assert mean_average_precision(probabilities, truth) == pytest.approx(np.mean(wanted), rel=1e-12)


def test_average_precision_needs_a_positive_clip():
    with pytest.raises(ValueError, match="positive"):
        average_precision(np.ones(3), np.zeros(3, bool))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_top_k_are_those_of_scikit_learn_but_for_ties(k):
    probabilities, truth = np.random.default_rng(k).random((60, 7)), np.arange(60) % 7
    wanted = sklearn.metrics.top_k_accuracy_score(truth, probabilities, k=k)
    assert in_top(probabilities, truth, k).mean() == wanted
    assert not in_top(np.ones((4, 7)), np.zeros(4, int), k).any()
    assert not in_top(np.full((4, 7), np.nan), np.zeros(4, int), k).any()


def test_the_confusion_matrix_has_true_classes_in_rows():
    probabilities, truth = drawn_scores(0)
    predicted = probabilities.argmax(axis=1)
    wanted = [[np.sum((truth == row) & (predicted == column)) for column in range(6)] for row in range(6)]
    np.testing.assert_array_equal(confusion(truth, predicted, 6), wanted)


def test_the_scores_of_a_run_agree_with_each_other():
    probabilities, truth = drawn_scores(1)
    right = probabilities.argmax(axis=1) == truth
    found = classification_scores(probabilities, truth, seed=4)
    assert (found["accuracy"], *found["interval_95"]) == accuracy_interval(right)
    assert tuple(found["bootstrap_95"]) == bootstrap_interval(right, 4)
    assert found["top_5"] == in_top(probabilities, truth, 5).mean()
    assert found["mean_average_precision"] == mean_average_precision(probabilities, truth)
    matrix = np.array(found["confusion"])
    assert found["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    assert [entry["clips"] for entry in found["per_class"]] == matrix.sum(axis=1).tolist()
    for c, entry in enumerate(found["per_class"][:5]):
        assert (entry["accuracy"], *entry["interval_95"]) == accuracy_interval(right[truth == c])
    assert found["per_class"][5] == {"clips": 0, "accuracy": None, "interval_95": None}
    wanted = [right[truth == c].mean() for c in range(5)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(wanted))
    assert classification_scores(probabilities[:, :5], truth)["top_5"] is None  # five of five say nothing
