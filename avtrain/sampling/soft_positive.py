"""soft-positive(p): a sound with the picture of another clip of its class (Wang et al. 2024, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, generator, lots_of, whole_batches
from avtrain.sampling.groups import stable_order
from avtrain.sampling.label_lists import LabelLists
from avtrain.sampling.random import permuted_batches

FEWEST_LABELLED = 2


@dataclass(frozen=True)
class SoftPositive(Strategy):
    """With probability p the picture is of another clip with the same label, each as likely; drawn anew each epoch.

    Anchors are those of `random` with the same seed, so p=0 is random, bit for bit. A clip that is alone in its label,
    or has none (-1), keeps itself. `labelled` is the share of each label's clips that keep it, at least two where it is
    above 0 (one alone has no partner): chosen by the seed, the same in all epochs, a smaller share part of a larger
    one. The others count as without label, here and in a loss that goes by labels; they stay in as exact pairs.
    The labels may be any column of the dataset: the manifest's own, pseudo labels, noisy ones. Of several labels a clip
    (a multi-label column) one that another clip has too is drawn, then such a clip: each label alike, or, the nearer
    `rare` is to 1, the more often the rarer: in proportion to (clips of the label) ** -rare. `labelled` then is the
    share of each label's clips that keep that label.
    Batches: all of batch_size, 1 to N; the last N mod batch_size clips of an epoch are left out, others each time.
    """

    p: float = 1.0
    labelled: float = 1.0
    rare: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p of soft-positive is a probability, 0 to 1, not {self.p}.")
        if not 0 <= self.labelled <= 1:
            raise ValueError(f"labelled of soft-positive is a share, 0 to 1, not {self.labelled}.")
        if not 0 <= self.rare <= 1:
            raise ValueError(f"rare of soft-positive is 0 (each label alike) to 1 (rare ones most), not {self.rare}.")

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: N // batch_size. Errors: ValueError if batch_size > N, or `rare` has no choice."""
        if self.rare and table.lists is None:
            raise ValueError("rare of soft-positive chooses among several labels a clip; this label column has one.")
        return whole_batches(len(table), batch_size)

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError if batch_size > N."""
        self.steps(table, batch_size)
        groups = (table if self.labelled == 1 else self.known_table(table, seed)).groups
        batches = permuted_batches(len(table), batch_size, seed, epoch, first_step)
        for step, anchors in enumerate(batches, start=first_step):
            draw = generator(seed, epoch, Stream.PARTNERS, step)
            soft = self._soft(draw, batch_size)
            partners = np.where(soft, groups.another(anchors, draw, self.rare), anchors)
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
        if table.lists is not None:
            return self._lists(table, table.lists, seed).first()
        labels = np.full_like(table.labels, -1)
        kept = table.groups.order[self._kept(table, seed)]
        labels[kept] = table.labels[kept]
        return labels

    def known_lists(self, table: ClipTable, seed: int) -> LabelLists | None:
        """The labels that each clip keeps, where it may have several."""
        return None if table.lists is None else self._lists(table, table.lists, seed)

    def _lists(self, table: ClipTable, lists: LabelLists, seed: int) -> LabelLists:
        if self.labelled == 1:
            return lists
        groups, kept = table.groups, self._kept(table, seed)
        labels = np.repeat(groups.labels, groups.sizes)
        return LabelLists.of(groups.order[kept], labels[kept], len(table))

    def _kept(self, table: ClipTable, seed: int) -> np.ndarray:
        """int64: slots of `table.groups.order` whose clip keeps that label: its share of each label, by lot."""
        if self.labelled == 0:
            return np.zeros(0, np.int64)
        groups, lots = table.groups, lots_of(table.rows, generator(seed, 0, Stream.LABELLED))
        group = np.repeat(np.arange(len(groups)), groups.sizes)
        by_lot = np.argsort(lots[groups.order])
        order = by_lot[stable_order(group[by_lot])]  # label by label, each by its lots
        quota = np.minimum(np.maximum(np.rint(self.labelled * groups.sizes), FEWEST_LABELLED), groups.sizes)
        return order[np.arange(len(order)) - groups.begins[group] < quota[group]]
