"""soft-positive(p): a sound with the picture of another clip of its class (Wang et al. 2024, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, generator, whole_batches
from avtrain.sampling.groups import Groups
from avtrain.sampling.random import permuted_batches


@dataclass(frozen=True)
class SoftPositive(Strategy):
    """With probability p the picture is of another clip with the same label, each as likely; drawn anew each epoch.

    Anchors are those of `random` with the same seed, so p=0 is random, bit for bit. A clip that is alone in its label,
    or has none (-1), keeps itself. `labelled` is the share of the clips with a label that keep it: chosen by the seed,
    the same in all epochs; the others count as without label, so they stay in as exact pairs.
    The labels may be any column of the dataset: the manifest's own, pseudo labels, noisy ones.
    Batches: all of batch_size, 1 to N; the last N mod batch_size clips of an epoch are left out, others each time.
    """

    p: float = 1.0
    labelled: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p of soft-positive is a probability, 0 to 1, not {self.p}.")
        if not 0 <= self.labelled <= 1:
            raise ValueError(f"labelled of soft-positive is a share, 0 to 1, not {self.labelled}.")

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: N // batch_size. Errors: ValueError if batch_size > N."""
        return whole_batches(len(table), batch_size)

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError if batch_size > N."""
        groups = self._groups(table, seed)
        batches = permuted_batches(len(table), batch_size, seed, epoch, first_step)
        for step, anchors in enumerate(batches, start=first_step):
            draw = generator(seed, epoch, Stream.PARTNERS, step)
            soft = self._soft(draw, batch_size)
            partners = np.where(soft, groups.another(anchors, draw), anchors)
            yield np.stack([table.rows[anchors], table.rows[partners]], axis=1)

    def fallbacks(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
        """bool [batch]: pairs whose draw asked for another clip, and whose clip kept itself for want of one."""
        return self._soft(generator(seed, epoch, Stream.PARTNERS, step), len(plan)) & (plan[:, 0] == plan[:, 1])

    def _soft(self, draw: np.random.Generator, batch_size: int) -> np.ndarray:
        return draw.random(batch_size) < self.p

    def _groups(self, table: ClipTable, seed: int) -> Groups:
        """The table's groups, of the labels that are kept."""
        if self.labelled == 1:
            return table.groups
        with_label = np.flatnonzero(table.labels >= 0)
        kept = generator(seed, 0, Stream.LABELLED).permutation(with_label)[: round(self.labelled * len(with_label))]
        labels = np.full_like(table.labels, -1)
        labels[kept] = table.labels[kept]
        return Groups.of(labels)
