"""Clips by label, as flat arrays: shuffled within each label, or another clip of the same label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SHORT_KEYS = 2**16


@dataclass(frozen=True)
class Groups:
    """Positions in a table grouped by label, G labels in rising order; a position without label (-1) is in none.

    `order` int64 [M]: the positions of the first label, then of the second ...; `begins` and `sizes` int64 [G]: where
    in it each label's lie; `table_size`: positions in all, with and without label.
    """

    order: np.ndarray
    begins: np.ndarray
    sizes: np.ndarray
    table_size: int

    @classmethod
    def of(cls, labels: np.ndarray) -> Groups:
        """The groups of labels int [N]."""
        keys = np.maximum(labels, -1) + 1
        order = stable_order(keys)[np.count_nonzero(keys == 0) :]
        grouped = labels[order]
        begins = np.flatnonzero(np.diff(grouped, prepend=-1))
        return cls(order, begins, np.diff(begins, append=len(order)), len(labels))

    def __len__(self) -> int:
        return len(self.sizes)

    def shuffled(self, draw: np.random.Generator) -> np.ndarray:
        """`order` with the positions of each label shuffled among themselves."""
        mixed = draw.permutation(len(self.order))
        group = np.repeat(np.arange(len(self)), self.sizes)
        return self.order[mixed[stable_order(group[mixed])]]

    def another(self, positions: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """For each position another one of its label, each equally likely; itself where there is none."""
        if not len(self):
            return positions
        place = self._places[positions]
        group = np.searchsorted(self.begins, np.maximum(place, 0), side="right") - 1
        begin, size = self.begins[group], np.where(place < 0, 1, self.sizes[group])
        step = draw.integers(0, np.maximum(size - 1, 1))
        other = begin + step + (step >= place - begin)
        alone = size < 2
        return np.where(alone, positions, self.order[np.where(alone, begin, other)])

    @cached_property
    def _places(self) -> np.ndarray:
        """int64 [N]: where in `order` each position stands, -1 if it has no label."""
        places = np.full(self.table_size, -1)
        places[self.order] = np.arange(len(self.order))
        return places


def stable_order(keys: np.ndarray) -> np.ndarray:
    """The stable argsort of keys >= 0. numpy sorts 16-bit numbers by radix: a tenth of the time for 10 million."""
    short = keys.max(initial=0) < SHORT_KEYS
    return np.argsort(keys.astype(np.uint16) if short else keys, kind="stable")
