"""Is one run better than another? Tests on the same test clips, over seeds or folds, and their correction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from avtrain.evaluation.metrics import RESAMPLES
from avtrain.evaluation.resampling import percentiles

DRAWN_AT_ONCE = 5_000_000
BOOTSTRAP = 0xB008  # the stream of random numbers of resamples; never change it
ROUNDING = 1e-12  # of scores, within which their differences are the same


@dataclass(frozen=True)
class McNemar:
    """Test clips that only the first or only the second run gets right, and three p-values (two-sided)."""

    first_only: int
    second_only: int
    exact: float
    """binomial test of the discordant clips: never too small a p, the one to report"""
    mid_p: float
    """exact, but counts as far apart as those seen weigh half: less cautious (Fagerland et al. 2013)"""
    chi_square: float
    """with continuity correction; needs some 25 discordant clips"""


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's test of two runs' outcomes bool [N] on the same clips; p = 1 where they never differ."""
    return mcnemar_of(int(np.sum(first & ~second)), int(np.sum(second & ~first)))


def mcnemar_of(first_only: int, second_only: int) -> McNemar:
    """McNemar's test of the two counts of discordant clips."""
    count, less = first_only + second_only, min(first_only, second_only)
    exact = float(stats.binomtest(less, count, 0.5).pvalue) if count else 1.0
    seen = float(stats.binom.pmf(less, count, 0.5))
    mid_p = exact - (seen / 2 if first_only == second_only else seen) if count else 1.0
    distance = max(abs(first_only - second_only) - 1, 0)
    chi_square = float(stats.chi2.sf(distance**2 / count, 1)) if count else 1.0
    return McNemar(first_only, second_only, exact, mid_p, chi_square)


@dataclass(frozen=True)
class Difference:
    """A difference of second minus first, its 95 % interval and a two-sided p-value (nan: none can be given)."""

    mean: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float, float]:
    """(difference, low, high) of accuracy, second minus first, over resampled clips; outcomes bool [N] of each.

    Where clips share a group of `groups` int [N], whole groups are resampled, and the percentiles lie further out, as
    Student's quantile does from the normal one (Hesterberg 2015): simulated, the interval covers 93 to 97 % from 20
    groups on where both runs are right on 50 to 85 % of the clips, and less with fewer groups or nearer to 0 and 1.
    """
    gaps = second.astype(np.int64) - first
    difference = float(gaps.mean())
    draw = np.random.default_rng([seed, BOOTSTRAP])
    if groups is None or len(np.unique(groups)) == len(gaps):
        drawn = draw.multinomial(len(gaps), np.bincount(gaps + 1, minlength=3) / len(gaps), resamples)
        low, high = np.percentile((drawn[:, 2] - drawn[:, 0]) / len(gaps), [2.5, 97.5])
        return difference, float(low), float(high)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count, sums = len(sizes), np.bincount(group, weights=gaps)
    if count == 1:
        return difference, -1.0, 1.0
    parts = []
    for rounds in np.array_split(np.arange(resamples), -(-resamples * count // DRAWN_AT_ONCE)):
        drawn = draw.integers(0, count, (len(rounds), count))
        parts.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return difference, *percentiles(np.concatenate(parts), count)


def group_flips(first: np.ndarray, second: np.ndarray, groups: np.ndarray) -> float:
    """Two-sided p that two runs are alike, where outcomes bool [N] of one group of `groups` int [N] hang together.

    Each group's difference is as likely with the other sign: the share of all sign flips whose sum is as far from 0 as
    the one seen, counted in full. Where every clip is a group this is McNemar's exact test. From about 1e-15 on, 0.
    """
    _, group = np.unique(groups, return_inverse=True)
    gaps = np.bincount(group, weights=second.astype(np.int64) - first).astype(np.int64)
    sizes, often = np.unique(np.abs(gaps[gaps != 0]), return_counts=True)
    if not len(sizes) or sizes.max() == 1:
        return mcnemar_of(int(np.sum(gaps < 0)), int(np.sum(gaps > 0))).exact
    span, seen = int(sizes @ often), abs(int(gaps.sum()))
    angles = 2 * np.pi * np.arange(2 * span + 1) / (2 * span + 1)
    transform = np.prod(np.cos(np.outer(sizes, angles)) ** often[:, None], axis=0)
    chances = np.fft.ifft(transform).real  # of the sums 0, 1 ... span, -span ... -1
    sums = np.abs(np.fft.fftfreq(2 * span + 1, 1 / (2 * span + 1)))
    return float(np.clip(chances[sums > seen - 0.5].sum(), 0.0, 1.0))


def paired_t(first: np.ndarray, second: np.ndarray) -> Difference:
    """Student's paired 95 % interval and p of scores float [runs] of the same seeds or folds.

    One pair has a difference but neither interval nor p (nan), nor have differences that are all the same and not 0:
    without a spread there is nothing to hold them against. Folds share training clips: their p is too small.
    """
    gaps = np.asarray(second, float) - np.asarray(first, float)
    mean = float(gaps.mean())
    if len(gaps) < 2:
        return Difference(mean, math.nan, math.nan, math.nan)
    rounding = ROUNDING * float(np.max(np.abs([first, second])))
    if np.ptp(gaps) <= rounding:
        same = abs(mean) <= rounding
        return Difference(mean, mean, mean, 1.0) if same else Difference(mean, math.nan, math.nan, math.nan)
    tested = stats.ttest_1samp(gaps, 0.0)
    interval = tested.confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high), float(tested.pvalue))


@dataclass(frozen=True)
class Equivalence:
    """Is a difference within `margin` of 0? Its mean, the 90 % interval that shows it, and p-values (nan: none).

    `p`: of two one-sided tests (TOST, Schuirmann 1987), that it is outside; below 0.05 the 90 % interval is inside.
    `p_above`: that it is `margin` or more, one-sided: below 0.05 the second is not better by that much.
    """

    margin: float
    mean: float
    low: float
    high: float
    p: float
    p_above: float


def equivalence(first: np.ndarray, second: np.ndarray, margin: float) -> Equivalence:
    """Paired tests whether the scores float [runs] of second minus first lie within `margin`, decided beforehand.

    A test that shows no difference does not show that there is none; this one can. One pair has no p.
    """
    gaps = np.asarray(second, float) - np.asarray(first, float)
    mean, count = float(gaps.mean()), len(gaps)
    if count < 2:
        return Equivalence(margin, mean, math.nan, math.nan, math.nan, math.nan)
    if float(stats.sem(gaps)) <= ROUNDING:
        above, below = (0.0 if gap > 0 else 1.0 for gap in (margin - mean, mean + margin))
        return Equivalence(margin, mean, mean, mean, max(above, below), above)
    above = float(stats.ttest_1samp(gaps, margin, alternative="less").pvalue)
    below = float(stats.ttest_1samp(gaps, -margin, alternative="greater").pvalue)
    interval = stats.ttest_1samp(gaps, 0.0).confidence_interval(0.9)
    return Equivalence(margin, mean, float(interval.low), float(interval.high), max(above, below), above)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values [M] corrected for M tests (Holm 1979): below 0.05, the whole family errs in at most 5 % of cases.

    A nan is no test: it stays nan and does not count.
    """
    values = np.asarray(p_values, float)
    corrected = np.full(values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected
