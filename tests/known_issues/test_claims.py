"""av-digits took rows to be alike where no difference was significant, and runs of one fold to be independent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from avtrain.evaluation.significance import equivalence, holm, paired_t
from avtrain.reproduce.av_digits.rows import ENVELOPE, UNLINKED
from avtrain.reproduce.av_digits.table import LAYOUT, claims
from avtrain.reproduce.benchmark.page import lead
from avtrain.reproduce.benchmark.table import MARGIN, markdown, summary


def cells_of(differences, name="frozen partner", link=UNLINKED):
    """Finished cells of `random` and of a row that is better by `differences`, run by run."""
    given = {"link": link, "updates": 600, "batch_size": 64, "same_class_negatives": 6.2}
    return [
        {"name": row, "run": run, "scores": {"linear": 0.4 + 0.01 * run + gap * (row == name)}, **given}
        for run, gap in enumerate(differences)
        for row in ("random", name)
    ]


def verdict(differences, name="frozen partner", link=UNLINKED):
    place = 2 if link == UNLINKED else 1
    return claims(summary(cells_of(differences, name, link), LAYOUT))[place][1:]


def test_a_difference_that_is_not_significant_is_not_shown_to_be_none():
    wide = [-0.12, 0.02, 0.13, -0.08, 0.04, 0.05]  # what was read as "no better": about 0, an interval of +- 10 points
    held, figures = verdict(wide)
    assert held is None
    assert "over runs" in figures
    assert "over means of folds" in figures
    assert verdict([0.004, -0.003, 0.001, 0.002, -0.004, 0.003])[0] is True
    assert verdict([0.11, 0.12, 0.115, 0.10, 0.12, 0.11])[0] is False


def test_no_better_is_a_one_sided_test():
    shuffled = "soft-positive, shuffled labels"
    assert verdict([-0.12, 0.02, 0.13, -0.08, 0.04, 0.05], shuffled, ENVELOPE)[0] is None
    assert verdict([-0.11, -0.12, -0.115, -0.10, -0.12, -0.11], shuffled, ENVELOPE)[0] is True
    assert verdict([0.11, 0.12, 0.115, 0.10, 0.12, 0.11], shuffled, ENVELOPE)[0] is False


def test_two_one_sided_tests_are_those_of_scipy():
    first, second = np.random.default_rng(0).normal([0.5, 0.51], 0.03, (8, 2)).T
    found = equivalence(first, second, 0.05)
    below = stats.ttest_1samp(second - first, 0.05, alternative="less").pvalue
    above = stats.ttest_1samp(second - first, -0.05, alternative="greater").pvalue
    assert (found.p, found.p_above) == pytest.approx((max(below, above), below))
    interval = stats.ttest_rel(second, first).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.p < 0.05) == (found.low > -0.05 and found.high < 0.05)
    assert MARGIN == 0.05


def test_without_a_spread_or_with_one_pair():
    same = equivalence(np.array([0.5, 0.5]), np.array([0.52, 0.52]), 0.05)
    assert (same.p, same.p_above) == (0.0, 0.0)
    far = equivalence(np.array([0.5, 0.5]), np.array([0.56, 0.56]), 0.05)
    assert (far.p, far.p_above) == (1.0, 1.0)
    assert np.isnan(equivalence(np.array([0.5]), np.array([0.5]), 0.05).p)


def test_the_table_has_both_units_and_holms_p():
    gaps = np.array([0.20, 0.30, 0.25, 0.22, 0.31, 0.24])
    lines = summary(cells_of(gaps, "soft-positive", ENVELOPE) + cells_of(0.1 * gaps - 0.02), LAYOUT)
    line = next(line for line in lines if line["name"] == "soft-positive")
    means = (gaps[:3] + gaps[3:]) / 2
    runs, folds = (paired_t(np.zeros(len(found)), found) for found in (gaps, means))
    for found, wanted, units in ((line["gap"], runs, 6), (line["gap_folds"], folds, 3)):
        assert (found["mean"], found["low"], found["high"], found["p"]) == pytest.approx(
            (wanted.mean, wanted.low, wanted.high, wanted.p)
        )
        assert found["units"] == units
    others = [line["gap"]["p"] for line in lines if line["gap"]]
    assert [line["gap"]["p_holm"] for line in lines if line["gap"]] == pytest.approx(holm(np.array(others)).tolist())
    text = markdown(lines, LAYOUT)
    assert "p (Holm)" in text
    assert "over means of folds" in text
    assert "share its two test speakers" in text
    assert "mean of 6 runs" in lead(lines, LAYOUT)
