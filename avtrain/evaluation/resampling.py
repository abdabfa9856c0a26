"""Bootstrap draws of test clips, or of whole clusters of them, as weights; percentiles that go with them."""

from __future__ import annotations

import math

import numpy as np

BOOTSTRAP = 0xB009  # the stream of random numbers of resamples; never change it


def drawn_weights(units: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """float32 [resamples, N]: how often each clip is drawn, where as many `units` int [N] are drawn as there are."""
    _, unit = np.unique(units, return_inverse=True)
    count = int(unit.max()) + 1
    draw = np.random.default_rng([seed, BOOTSTRAP])
    return draw.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float32)[:, unit]


def p_of(gaps: np.ndarray) -> float:
    """Two-sided p that resampled differences float [R] are of runs that are alike: twice the lesser share beyond 0.

    At least 2 / (R + 1).
    """
    beyond = min(np.count_nonzero(gaps <= 0), np.count_nonzero(gaps >= 0)) + 1
    return float(min(1.0, 2 * beyond / (len(gaps) + 1)))


def percentiles(values: np.ndarray, units: int) -> tuple[float, float]:
    """(low, high) of resampled scores: a 95 % interval that allows for few `units`.

    The percentiles lie further out than 2.5 and 97.5, as Student's quantile does from the normal one (Hesterberg 2015).
    """
    outside = 2.5
    if units > 1:
        from scipy.stats import norm, t

        outside = 100 * float(norm.cdf(-t.ppf(0.975, units - 1) * math.sqrt(units / (units - 1))))
    low, high = np.percentile(values, [outside, 100 - outside])
    return float(low), float(high)
