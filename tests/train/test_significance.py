"""Tests between runs against statsmodels, scipy, fractions and simulation."""

from __future__ import annotations

import gc
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as reference
from statsmodels.stats.multitest import multipletests

from avtrain.evaluation.significance import group_flips, holm, mcnemar, mcnemar_of, paired_bootstrap, paired_t


def outcomes(both, first_only, second_only, neither, seed=0):
    """Outcomes of two runs with these counts, in a random order."""
    first = np.repeat([True, True, False, False], [both, first_only, second_only, neither])
    second = np.repeat([True, False, True, False], [both, first_only, second_only, neither])
    order = np.random.default_rng(seed).permutation(len(first))
    return first[order], second[order]


counts = st.integers(0, 300)


@given(counts, counts, counts, counts)
def test_mcnemar_is_that_of_statsmodels(both, first_only, second_only, neither):
    if both + first_only + second_only + neither == 0:
        return
    table = [[both, first_only], [second_only, neither]]
    found = mcnemar(*outcomes(both, first_only, second_only, neither))
    assert (found.first_only, found.second_only) == (first_only, second_only)
    assert found.exact == pytest.approx(reference(table, exact=True).pvalue, rel=1e-9)
    if abs(first_only - second_only) >= 1:  # statsmodels corrects a difference of 0 by 1 too
        assert found.chi_square == pytest.approx(reference(table, exact=False).pvalue, rel=1e-9)


@given(st.integers(0, 60), st.integers(0, 60))
def test_p_values_are_sums_of_binomial_terms(first_only, second_only):
    count, less = first_only + second_only, min(first_only, second_only)
    terms = [Fraction(math.comb(count, k), 2**count) for k in range(less + 1)]
    found = mcnemar_of(first_only, second_only)
    assert found.exact == pytest.approx(float(min(Fraction(1), 2 * sum(terms))), rel=1e-9)
    if count:
        gap = abs(first_only - second_only)
        farther = [Fraction(math.comb(count, k), 2**count) for k in range(count + 1) if abs(count - 2 * k) > gap]
        as_far = [Fraction(math.comb(count, k), 2**count) for k in range(count + 1) if abs(count - 2 * k) == gap]
        assert found.mid_p == pytest.approx(float(sum(farther) + sum(as_far) / 2), rel=1e-9)


@pytest.mark.parametrize(("each", "mid_p"), [(1, 0.75), (2, 1 - 6 / 32), (3, 1 - 20 / 128)])
def test_as_many_clips_for_either_run_weigh_half(each, mid_p):
    """Fagerland et al. 2013: where both counts are equal, 1 less half their probability."""
    assert mcnemar_of(each, each).mid_p == pytest.approx(mid_p, rel=1e-12)


def test_runs_that_never_differ_are_not_different():
    right = np.array([True, False, True])
    found = mcnemar(right, right)
    assert (found.exact, found.mid_p, found.chi_square) == (1, 1, 1)
    assert paired_bootstrap(right, right) == (0, 0, 0)


def test_the_difference_is_second_less_first():
    first, second = outcomes(100, 10, 40, 50)
    difference, low, high = paired_bootstrap(first, second)
    assert difference == pytest.approx(30 / 200)
    assert 0 < low < difference < high
    swapped = paired_bootstrap(second, first)
    assert swapped == pytest.approx((-difference, -high, -low), abs=0.01)


def test_the_paired_bootstrap_resamples_clips():
    """Against clips drawn with replacement, one by one."""
    first, second = outcomes(60, 12, 25, 20)
    draw = np.random.default_rng(1)
    gaps = second.astype(int) - first
    drawn = [gaps[draw.integers(0, len(gaps), len(gaps))].mean() for _ in range(4000)]
    assert paired_bootstrap(first, second)[1:] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)


@pytest.mark.parametrize(("first_rate", "second_rate", "count"), [(0.5, 0.6, 208), (0.85, 0.9, 500)])
def test_the_paired_interval_covers_the_true_difference(first_rate, second_rate, count):
    """Simulated runs that agree on most clips: both are right where a clip's ease is above their threshold."""
    draw = np.random.default_rng(2)
    covered = 0
    for trial in range(1500):
        ease = draw.random(count)
        first = np.where(draw.random(count) < 0.7, ease, draw.random(count)) < first_rate
        _, low, high = paired_bootstrap(first, ease < second_rate, seed=trial, resamples=1000)
        covered += low <= second_rate - first_rate + 1e-12 and second_rate - first_rate - 1e-12 <= high
    assert 0.93 <= covered / 1500 <= 0.97


def of_groups(draw, count, mean_size, rates, likeness):
    """Outcomes of two runs on clips whose ease is shared by their group, and the groups int [N]."""
    sizes = 1 + draw.poisson(mean_size - 1, count)
    groups = np.repeat(np.arange(count), sizes)
    scatter = np.sqrt(1 - likeness) * draw.standard_normal((2, len(groups)))
    ease = np.sqrt(likeness) * draw.standard_normal((2, count))[:, groups] + scatter
    return *(ease < scipy.special.ndtri(rates)[:, None]), groups


@pytest.mark.parametrize(
    ("groups", "size", "rates"),
    [(20, 10, (0.5, 0.6)), (30, 4, (0.7, 0.8)), (50, 8, (0.55, 0.85)), (100, 3, (0.4, 0.45))],
)
def test_the_interval_by_group_covers_where_groups_hang_together(groups, size, rates):
    draw = np.random.default_rng(4)
    covered, by_clip = [], []
    for trial in range(1000):
        first, second, of = of_groups(draw, groups, size, rates, 0.5)
        _, low, high = paired_bootstrap(first, second, of, trial, 500)
        covered.append(low <= rates[1] - rates[0] <= high)
        if trial % 5 == 0:
            _, low, high = paired_bootstrap(first, second, None, trial, 500)
            by_clip.append(low <= rates[1] - rates[0] <= high)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(by_clip) < 0.9


def test_groups_of_one_clip_are_clips():
    first, second = outcomes(60, 12, 25, 20)
    groups = np.random.default_rng(0).permutation(len(first))
    assert paired_bootstrap(first, second, groups) == paired_bootstrap(first, second)
    assert group_flips(first, second, groups) == mcnemar(first, second).exact
    assert paired_bootstrap(first, second, np.zeros(len(first), int))[1:] == (-1, 1)


@pytest.mark.parametrize("seed", range(8))
def test_sign_flips_are_counted_in_full(seed):
    """Against every way to give eleven groups their signs, one by one."""
    draw = np.random.default_rng(seed)
    first, second, groups = of_groups(draw, 11, 5, (0.5, 0.55 + 0.05 * seed), 0.4)
    gaps = np.bincount(groups, weights=second.astype(int) - first)
    sums = np.array(list(itertools.product([-1, 1], repeat=11))) @ gaps
    assert group_flips(first, second, groups) == pytest.approx(np.mean(np.abs(sums) >= abs(gaps.sum()) - 0.5), rel=1e-9)


def test_sign_flips_err_as_often_as_stated():
    """Two runs that are alike, on groups that hang together: p < 0.05 in about 5 of 100 cases, McNemar's more often."""
    draw = np.random.default_rng(5)
    found = np.array(
        [
            (group_flips(first, second, of), mcnemar(first, second).exact)
            for first, second, of in (of_groups(draw, 30, 10, (0.6, 0.6), 0.5) for _ in range(500))
        ]
    )
    share, by_clip = (found < 0.05).mean(axis=0)
    assert 0.03 <= share <= 0.065
    assert by_clip > 0.1


@given(st.integers(0, 2**32), st.integers(2, 12))
def test_the_paired_t_test_is_students(seed, runs):
    first, second = np.random.default_rng(seed).normal(60, 2, (2, runs))
    gaps = second - first
    error = math.sqrt(sum((gaps - gaps.mean()) ** 2) / (runs - 1) / runs)
    half = scipy.stats.t.ppf(0.975, runs - 1) * error
    found = paired_t(first, second)
    assert (found.low, found.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half), rel=1e-9, abs=1e-9)
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(abs(gaps.mean()) / error, runs - 1), rel=1e-9)
    assert found.mean == pytest.approx(np.mean(second - first))


def test_one_pair_has_no_interval():
    found = paired_t(np.array([0.5]), np.array([0.75]))
    assert found.mean == 0.25
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.p)


def test_differences_that_are_all_the_same_are_no_test():
    alike = paired_t(np.array([0.1, 0.7]), np.array([0.1, 0.7]))
    assert (alike.low, alike.mean, alike.high, alike.p) == (0, 0, 0, 1)
    first = np.array([0.5, 0.6, 0.3])
    second = first + 0.1
    assert np.ptp(second - first) > 0  # by rounding alone
    found = paired_t(first, second)
    assert found.mean == pytest.approx(0.1)
    assert np.isnan([found.low, found.high, found.p]).all()


@pytest.mark.parametrize("tests", [1, 2, 3, 12])
def test_holms_correction_is_that_of_statsmodels(tests, monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # which the reference calls each time
    for seed in range(2):
        p_values = np.random.default_rng(seed).random(tests).round(1) ** 3  # some are equal
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_a_test_that_was_not_made_is_not_counted():
    found = holm(np.array([0.01, np.nan, 0.04]))
    assert found[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(found[1])
    assert holm(np.array([])).shape == (0,)
