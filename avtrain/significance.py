"""Is one run better than another? Tests on the same test clips, over seeds or folds, and their correction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from avtrain.metrics import RESAMPLES


@dataclass(frozen=True)
class McNemar:
    """Test clips that only the first or only the second run gets right, and three p-values (two-sided)."""

    first_only: int
    second_only: int
    exact: float
    """binomial test of the discordant clips: never too small a p, the one to report"""
    mid_p: float
    """exact less half the probability of what was seen: less cautious (Fagerland et al. 2013)"""
    chi_square: float
    """with continuity correction; needs some 25 discordant clips"""


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's test of two runs' outcomes bool [N] on the same clips; p = 1 where they never differ."""
    return mcnemar_of(int(np.sum(first & ~second)), int(np.sum(second & ~first)))


def mcnemar_of(first_only: int, second_only: int) -> McNemar:
    """McNemar's test of the two counts of discordant clips."""
    count, less = first_only + second_only, min(first_only, second_only)
    tail = float(stats.binom.cdf(less, count, 0.5))
    exact = min(1.0, 2 * tail)
    mid_p = min(1.0, 2 * tail - float(stats.binom.pmf(less, count, 0.5)))
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
    first: np.ndarray, second: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """(difference, low, high) of accuracy, second minus first, over resampled clips; outcomes bool [N] of each.

    A clip counts +1, 0 or -1, so the three counts of a resample are multinomial and N is drawn in one number each.
    """
    shares = np.bincount(second.astype(np.int64) - first + 1, minlength=3) / len(first)
    draw = np.random.default_rng([seed, 0xB008])
    drawn = draw.multinomial(len(first), shares, resamples)
    low, high = np.percentile((drawn[:, 2] - drawn[:, 0]) / len(first), [2.5, 97.5])
    return float(shares[2] - shares[0]), float(low), float(high)


def paired_t(first: np.ndarray, second: np.ndarray) -> Difference:
    """Student's paired 95 % interval and p of scores float [runs] of the same seeds or folds.

    One pair has a difference but neither interval nor p (nan). Folds share training clips: their p is too small.
    """
    gaps = np.asarray(second, float) - np.asarray(first, float)
    mean = float(gaps.mean())
    if len(gaps) < 2:
        return Difference(mean, math.nan, math.nan, math.nan)
    error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    half = float(stats.t.ppf(0.975, len(gaps) - 1)) * error
    if error == 0:
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    p = 2 * float(stats.t.sf(abs(mean) / error, len(gaps) - 1))
    return Difference(mean, mean - half, mean + half, p)


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
