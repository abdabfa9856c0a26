"""soft-positive(p): a sound with the picture of another clip of its class (Wang et al. 2024, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, generator, whole_batches
from avtrain.sampling.groups import Groups, stable_order
from avtrain.sampling.random import permuted_batches

FEWEST_LABELLED = 2


@dataclass(frozen=True)
class SoftPositive(Strategy):
    """With probability p the picture is of another clip with the same label, each as likely; drawn anew each epoch.

    Anchors are those of `random` with the same seed, so p=0 is random, bit for bit. A clip that is alone in its label,
    or has none (-1), keeps itself. `labelled` is the share of each label's clips that keep it, at least two where it is
    above 0 (one alone has no partner): chosen by the seed, the same in all epochs, a smaller share part of a larger
    one. The others count as without label, here and in a loss that goes by labels; they stay in as exact pairs.
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
        groups = table.groups if self.labelled == 1 else Groups.of(self.known_labels(table, seed))
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

    def known_labels(self, table: ClipTable, seed: int) -> np.ndarray:
        """int32 [N]: the labels of the clips that keep theirs, -1 for the others."""
        if self.labelled == 1:
            return table.labels
        labels = np.full_like(table.labels, -1)
        if self.labelled == 0:
            return labels
        groups, lots = table.groups, lots_of(table.rows, generator(seed, 0, Stream.LABELLED))
        group = np.repeat(np.arange(len(groups)), groups.sizes)
        by_lot = np.argsort(lots[groups.order])
        order = groups.order[by_lot[stable_order(group[by_lot])]]  # label by label, each by its lots
        quota = np.minimum(np.maximum(np.rint(self.labelled * groups.sizes), FEWEST_LABELLED), groups.sizes)
        kept = order[np.arange(len(order)) - groups.begins[group] < quota[group]]
        labels[kept] = table.labels[kept]
        return labels


def lots_of(rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """uint64 [N]: a lot for each dataset row, whatever other rows there are (splitmix64 of the row and one number)."""
    mixed = rows.astype(np.uint64) + draw.integers(0, 2**64, dtype=np.uint64, endpoint=False)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
