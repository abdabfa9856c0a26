"""Drawing numbers in proportion to weights, at a cost a draw that does not grow with how many weights there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lottery:
    """Numbers 0 to N - 1, each with a share of [0, 1) as wide as its weight, and a guide to where the shares lie.

    `reached` float64 [N]: where the share of each number ends; `guide` int64 [B + 1]: how many shares end at or before
    b / B, of B equal bins. (The guide table of Chen and Asau, 1974: a draw looks only at the shares that end in its
    bin, one or two as a rule, where a search of all N would miss the cache at each of its log2 N looks.)
    B is a power of two, so that bins are exact and `drawn` gives to the bit what a search of `reached` gives.
    """

    reached: np.ndarray
    guide: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray) -> Lottery:
        """The lottery of weights float64 [N], finite, 0 or more and not all 0; O(N)."""
        reached = np.cumsum(weights)
        reached /= reached[-1]
        bins = 1 << len(weights).bit_length()
        ends = np.bincount(np.ceil(reached * bins).astype(np.int64), minlength=bins + 1)
        return cls(reached, np.cumsum(ends))

    def drawn(self, places: np.ndarray) -> np.ndarray:
        """Numbers int64 [K] in whose shares `places` float64 [K] of [0, 1) lie; a number of weight 0 in none."""
        bins = (places * (len(self.guide) - 1)).astype(np.int64)
        low, high = self.guide[bins], self.guide[bins + 1]
        while (low < high).any():
            middle = (low + high) // 2
            beyond = self.reached[middle] <= places
            low, high = np.where(beyond, middle + 1, low), np.where(beyond, high, middle)
        return low
