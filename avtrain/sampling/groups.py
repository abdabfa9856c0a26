"""Clips by label, as flat arrays: shuffled within each label, or another clip of the same label.

A clip of several labels is in the group of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avtrain.sampling.label_lists import LabelLists

SHORT_KEYS = 2**16


@dataclass(frozen=True)
class Groups:
    """Positions in a table grouped by label, G labels in rising order; a position without label (-1) is in none.

    `order` int64 [M]: the positions of the first label, then of the second ...; `begins` and `sizes` int64 [G]: where
    in it each label's lie; `labels` int [G]: which those are; `table_size`: positions in all, with and without label.
    `lists`: the labels of each position, where that may be several.
    """

    order: np.ndarray
    begins: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    table_size: int
    lists: LabelLists | None = None

    @classmethod
    def of(cls, labels: np.ndarray) -> Groups:
        """The groups of labels int [N]."""
        keys = np.maximum(labels, -1) + 1
        order = stable_order(keys)[np.count_nonzero(keys == 0) :]
        grouped = labels[order]
        begins = np.flatnonzero(np.diff(grouped, prepend=-1))
        return cls(order, begins, np.diff(begins, append=len(order)), grouped[begins], len(labels))

    @classmethod
    def of_lists(cls, lists: LabelLists) -> Groups:
        """The groups of clips of any number of labels: a position is in `order` once for each label that it has."""
        by_label = stable_order(lists.values)
        grouped = lists.values[by_label]
        begins = np.flatnonzero(np.diff(grouped, prepend=-1))
        sizes = np.diff(begins, append=len(by_label))
        return cls(lists.clips[by_label], begins, sizes, grouped[begins], len(lists), lists)

    def __len__(self) -> int:
        return len(self.sizes)

    def shuffled(self, draw: np.random.Generator) -> np.ndarray:
        """`order` with the positions of each label shuffled among themselves."""
        mixed = draw.permutation(len(self.order))
        group = np.repeat(np.arange(len(self)), self.sizes)
        return self.order[mixed[stable_order(group[mixed])]]

    def another(self, positions: np.ndarray, draw: np.random.Generator, rare: float = 0.0) -> np.ndarray:
        """For each position another one of its label, each equally likely; itself where there is none.

        Of several labels one is drawn first, among those that another position has too: with a chance in proportion to
        (positions of the label) ** -rare, so all alike for 0.
        """
        if not len(self):
            return positions
        slot = self._slots[positions] if self.lists is None else self._drawn(self.lists, positions, draw, rare)
        group = self._group(slot)
        begin, size = self.begins[group], np.where(slot < 0, 1, self.sizes[group])
        step = draw.integers(0, np.maximum(size - 1, 1))
        other = begin + step + (step >= slot - begin)
        alone = size < 2
        return np.where(alone, positions, self.order[np.where(alone, begin, other)])

    def _group(self, slot: np.ndarray) -> np.ndarray:
        """int64: the group in which each slot of `order` is; -1 counts as 0."""
        return np.searchsorted(self.begins, np.maximum(slot, 0), side="right") - 1

    def _drawn(self, lists: LabelLists, positions: np.ndarray, draw: np.random.Generator, rare: float) -> np.ndarray:
        """int64 [n]: the slot in `order` of one label of each position, -1 where no other position has one of them.

        The label whose exponential waiting time is the shortest: that is a draw in proportion to the rates.
        """
        owner, entries = lists.entries(positions)
        slots = self._slots[entries]
        sizes = self.sizes[self._group(slots)]
        rates = np.where(sizes > 1, sizes.astype(float) ** -rare, 0.0)
        with np.errstate(divide="ignore"):
            waiting = -np.log1p(-draw.random(len(entries))) / rates
        order = np.lexsort((waiting, owner))
        owners, first = np.unique(owner[order], return_index=True)
        fastest = order[first]
        drawn = np.full(len(positions), -1)
        drawn[owners] = np.where(rates[fastest] > 0, slots[fastest], -1)
        return drawn

    @cached_property
    def _slots(self) -> np.ndarray:
        """int64: the slot in `order` of each position, -1 for no label; of lists, that of each of their values."""
        if self.lists is not None:
            slots = np.empty(len(self.order), np.int64)
            slots[stable_order(self.lists.values)] = np.arange(len(self.order))
            return slots
        slots = np.full(self.table_size, -1)
        slots[self.order] = np.arange(len(self.order))
        return slots


def stable_order(keys: np.ndarray) -> np.ndarray:
    """The stable argsort of keys >= 0. numpy sorts 16-bit numbers by radix: a tenth of the time for 10 million."""
    short = keys.max(initial=0) < SHORT_KEYS
    return np.argsort(keys.astype(np.uint16) if short else keys, kind="stable")
