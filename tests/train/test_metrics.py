"""Scores and their uncertainty against known values, simulation and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from avtrain.metrics import accuracy_interval, mean_interval, recall_at


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


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.85])
def test_the_interval_covers_the_true_accuracy_in_95_of_100_cases(chance):
    drawn = np.random.default_rng(0).binomial(60, chance, 4000)
    intervals = {right: accuracy_interval(outcomes(right, 60))[1:] for right in np.unique(drawn)}
    covered = np.mean([intervals[right][0] <= chance <= intervals[right][1] for right in drawn])
    assert 0.93 < covered < 0.975


def test_the_interval_of_a_mean_is_students():
    values = [61.2, 63.9, 60.1]
    mean, half = mean_interval(values)
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-12)


def test_one_value_has_no_interval():
    mean, half = mean_interval([0.5])
    assert mean == 0.5
    assert math.isnan(half)


def test_recall_of_a_hand_made_matrix():
    similarity = np.array([
        [9.0, 1.0, 2.0, 3.0],  # its own is first
        [5.0, 4.0, 3.0, 2.0],  # second
        [7.0, 6.0, 5.0, 4.0],  # third
        [1.0, 2.0, 3.0, 0.0],  # last
    ])  # fmt: skip
    assert [recall_at(similarity, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]


def test_recall_ranks_the_columns_of_each_row():
    similarity = np.array([
        [1.0, 2.0, 3.0],
        [0.0, 4.0, 0.0],
        [0.0, 0.0, 5.0],
    ])  # fmt: skip
    assert recall_at(similarity, 1) == pytest.approx(2 / 3)
    assert recall_at(similarity.T, 1) == 1


def test_ties_count_against():
    assert recall_at(np.ones((4, 4)), 1) == 0
    assert recall_at(np.ones((4, 4)), 3) == 0
    assert recall_at(np.ones((4, 4)), 4) == 1
    assert recall_at(np.array([[1.0, 1.0], [0.0, 1.0]]), 1) == 0.5


def test_a_similarity_that_is_no_number_finds_nothing():
    assert recall_at(np.full((4, 4), np.nan), 1) == 0
    assert recall_at(np.array([[1.0, np.nan], [0.0, 1.0]]), 1) == 0.5


def test_queries_are_rows():
    """The second column is nearest to every row: only one of two rows finds its own."""
    assert recall_at(np.array([[0.1, 0.9, 0.3], [0.2, 0.8, 0.0], [0.3, 0.7, 0.2]]), 1) == 1 / 3
    assert recall_at(np.array([[0.1, 0.9, 0.3], [0.2, 0.8, 0.0], [0.3, 0.7, 0.2]]).T, 1) == 0.0
