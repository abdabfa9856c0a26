"""soft-positive(p): a sound with the picture of another clip of its class (Wang et al. 2024, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import PARTNERS, ClipTable, check_batch, generator
from avtrain.sampling.random import anchor_batches


@dataclass(frozen=True)
class SoftPositive:
    """With probability p the picture is of another clip with the same label, drawn anew each epoch.

    Anchors are those of `random` with the same seed, so p=0 is random, bit for bit. A clip that is alone in its
    class, or has no label (-1), keeps itself. The last N mod batch clips of an epoch are left out.
    """

    p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p of soft-positive is a probability, 0 to 1, not {self.p}.")

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: N // batch_size."""
        check_batch(batch_size, len(table))
        return len(table) // batch_size

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError if batch_size > N."""
        classmates = Classmates(table.labels)
        for step, anchors in enumerate(anchor_batches(table, batch_size, seed, epoch, first_step), start=first_step):
            draw = generator(seed, epoch, PARTNERS, step)
            soft = draw.random(batch_size) < self.p
            partners = np.where(soft, classmates.another(anchors, draw), anchors)
            yield np.stack([table.rows[anchors], table.rows[partners]], axis=1)


class Classmates:
    """Table positions grouped by label; draws other members of a position's own group."""

    def __init__(self, labels: np.ndarray) -> None:
        self._order = np.argsort(labels, kind="stable")
        grouped = labels[self._order]
        begins = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if len(labels) else np.zeros(0, int)
        sizes = np.diff(np.r_[begins, len(labels)])
        group = np.empty(len(labels), np.int64)
        group[self._order] = np.repeat(np.arange(len(begins)), sizes)
        place = np.empty(len(labels), np.int64)
        place[self._order] = np.arange(len(labels))
        self._begin, self._size = begins[group], sizes[group]
        self._place = place - self._begin
        self._size = np.where(labels < 0, 1, self._size)

    def another(self, positions: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """For each position another one of its label, each equally likely; itself where there is none."""
        size, place = self._size[positions], self._place[positions]
        step = draw.integers(0, np.maximum(size - 1, 1))
        alone = size < 2
        other = self._order[self._begin[positions] + np.where(alone, place, step + (step >= place))]
        return other
