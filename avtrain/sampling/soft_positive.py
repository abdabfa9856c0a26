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
OTHERS = ("exact", "negatives", "skip")
WITH_LABEL = "clips with a label"


@dataclass(frozen=True)
class SoftPositive(Strategy):
    """With probability p the picture is of another clip with the same label, each as likely; drawn anew each epoch.

    Anchors are those of `random` with the same seed, so p=0 is random, bit for bit. A clip that is alone in its label,
    or has none (-1), keeps itself. `labelled` is the share of each label's clips that keep it, at least two where it is
    above 0 (one alone has no partner): chosen by the seed, the same in all epochs, a smaller share part of a larger
    one. The others count as without label, here and in a loss that goes by labels.
    `others` is what clips do that have no label: `exact`: they are exact pairs; `negatives`: they are exact pairs of
    weight 0, so negatives of the others only, and so is a clip that is alone in its label; `skip`: they are in no
    batch, and an epoch is shorter.
    The labels may be any column of the dataset: the manifest's own, pseudo labels, noisy ones. Of several labels a clip
    (a multi-label column) one that another clip has too is drawn, then such a clip: each label alike, or, the nearer
    `rare` is to 1, the more often the rarer: in proportion to (clips of the label) ** -rare. `labelled` then is the
    share of each label's clips that keep that label.
    Batches: all of batch_size, 1 to N (with `skip`: to the clips with a label); the last N mod batch_size clips of an
    epoch are left out, others each time.
    """

    p: float = 1.0
    labelled: float = 1.0
    rare: float = 0.0
    others: str = "exact"

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p of soft-positive is a probability, 0 to 1, not {self.p}.")
        if not 0 <= self.labelled <= 1:
            raise ValueError(f"labelled of soft-positive is a share, 0 to 1, not {self.labelled}.")
        if not 0 <= self.rare <= 1:
            raise ValueError(f"rare of soft-positive is 0 (each label alike) to 1 (rare ones most), not {self.rare}.")
        if self.others not in OTHERS:
            raise ValueError(f"others of soft-positive is one of {', '.join(OTHERS)}, not {self.others!r}.")

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: N // batch_size, with `skip` of the N clips with a label.

        Errors: ValueError if batch_size > N, `rare` has no choice, or N depends on the seed.
        """
        if self.rare and table.lists is None:
            raise ValueError("rare of soft-positive chooses among several labels a clip; this label column has one.")
        if self.others != "skip":
            return whole_batches(len(table), batch_size)
        if self.labelled < 1 and table.lists is not None:
            raise ValueError("others=skip with labelled below 1 needs one label a clip; this label column has several.")
        known = np.count_nonzero(table.labels >= 0) if self.labelled == 1 else self._quota(table.groups.sizes).sum()
        return whole_batches(int(known), batch_size, WITH_LABEL)

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError if batch_size > N."""
        self.steps(table, batch_size)
        known = table if self.labelled == 1 else self.known_table(table, seed)
        groups = known.groups
        planned = np.flatnonzero(known.labels >= 0) if self.others == "skip" else np.arange(len(table))
        batches = permuted_batches(len(planned), batch_size, seed, epoch, first_step)
        for step, drawn in enumerate(batches, start=first_step):
            anchors = planned[drawn]
            draw = generator(seed, epoch, Stream.PARTNERS, step)
            soft = self._soft(draw, batch_size)
            partners = np.where(soft, groups.another(anchors, draw, self.rare), anchors)
            yield np.stack([table.rows[anchors], table.rows[partners]], axis=1)

    def fallbacks(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
        """bool [batch]: pairs whose draw asked for another clip, and whose clip kept itself for want of one."""
        return self._soft(generator(seed, epoch, Stream.PARTNERS, step), len(plan)) & (plan[:, 0] == plan[:, 1])

    def weights(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray | None:
        """float32 [batch]: with others=negatives 0 for the `fallbacks`, else 1; None otherwise."""
        if self.others != "negatives":
            return None
        return np.where(self.fallbacks(table, plan, seed=seed, epoch=epoch, step=step), 0, 1).astype(np.float32)

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
        return order[np.arange(len(order)) - groups.begins[group] < self._quota(groups.sizes)[group]]

    def _quota(self, sizes: np.ndarray) -> np.ndarray:
        """How many of each label's `sizes` clips keep it."""
        if self.labelled == 0:
            return np.zeros_like(sizes)
        return np.minimum(np.maximum(np.rint(self.labelled * sizes), FEWEST_LABELLED), sizes)
