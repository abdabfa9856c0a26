"""Several datasets in one plan, each with its own share of clips an epoch, under any rule of pairing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, generator
from avtrain.sampling.hard_negative import FEWEST_PAIRS, HardNegative
from avtrain.sampling.label_lists import LabelLists

MOST_DRAWS = 100  # of an epoch's clips, where a draw gives fewer batches than the first epoch's
FURTHER = 2**32  # added to the number of an epoch for each further draw, so that no two epochs are alike


@dataclass(frozen=True, eq=False)
class Shares(Strategy):
    """`inner` over the clips that each epoch draws: of dataset i a share `shares[i]`, float64 [D].

    Its rows end before `ends[i]`, int64 [D]. The clips are drawn anew each epoch, without replacement; with a weight
    above 1 an epoch has two parts or more, whose batches alternate, and in each of which a clip comes at most once:
    with a weight of 2 once in each of two, the clips of a dataset of weight 1 in one of the two. Of N clips exactly
    N x weight, to the nearest whole number, are drawn, clips with and without label in proportion, so that epochs of
    `random`, `soft-positive` and `class-balanced` are of one length. Those of strategies that go by the sizes of labels
    (`easy-negative`, `hard-negative`) are not: they are cut to the length of the draw of seed 0 and epoch 0, and what
    is missing comes of a further draw. The batches that do not fill all parts of an epoch alike are left out.
    `inner` must know the labels of all clips, and its weights and fallbacks go by step and plan alone.

    Cost: O(N) an epoch, beside that of `inner`.
    """

    inner: Strategy
    ends: np.ndarray
    shares: np.ndarray

    @property
    def parts(self) -> int:
        """Parts of an epoch, in each of which a clip comes at most once."""
        return max(1, math.ceil(self.shares.max()))

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch. Errors: ValueError as those of `inner` on the clips of a draw."""
        return self.parts * self._part_steps(table, batch_size)

    def smallest_batch(self, table: ClipTable, batch_size: int) -> int:
        """That of `inner`; of hard-negative, whose remainders differ between draws, the smallest that can be."""
        if isinstance(self.inner, HardNegative):
            return min(FEWEST_PAIRS, batch_size)
        return self.inner.smallest_batch(self._drawn(table, 0, 0, 0), batch_size)

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch, 2] of one epoch from `first_step` on. Errors: ValueError as in `steps`."""
        parts, steps = self.parts, self._part_steps(table, batch_size)
        first = max(first_step, 0)
        plans = [
            self._part(table, batch_size, seed, epoch, part, steps, max(0, -((part - first) // parts)))
            for part in range(parts)
        ]
        for step in range(first, parts * steps):
            yield next(plans[step % parts])

    def known_labels(self, table: ClipTable, seed: int) -> np.ndarray:
        """Those of `inner`, by the whole table."""
        return self.inner.known_labels(table, seed)

    def known_lists(self, table: ClipTable, seed: int) -> LabelLists | None:
        """Those of `inner`, by the whole table."""
        return self.inner.known_lists(table, seed)

    def fallbacks(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
        """Those of `inner` at its own epoch and step."""
        own, part = divmod(step, self.parts)
        return self.inner.fallbacks(table, plan, seed=seed, epoch=epoch * self.parts + part, step=own)

    def weights(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray | None:
        """Those of `inner` at its own epoch and step."""
        own, part = divmod(step, self.parts)
        return self.inner.weights(table, plan, seed=seed, epoch=epoch * self.parts + part, step=own)

    def arrays(self) -> list[np.ndarray]:
        """Those of `inner`, ends and weights."""
        return [self.ends, self.shares, *self.inner.arrays()]

    def _part_steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in each part of an epoch."""
        return min(self.inner.steps(self._drawn(table, 0, 0, part), batch_size) for part in range(self.parts))

    def _part(
        self, table: ClipTable, batch_size: int, seed: int, epoch: int, part: int, steps: int, first_step: int
    ) -> Iterator[np.ndarray]:
        """The plans of a part of an epoch from its `first_step` of `steps` on."""
        begin = 0
        for again in range(MOST_DRAWS):
            drawn = self._drawn(table, seed, epoch, part, again)
            try:
                count = min(self.inner.steps(drawn, batch_size), steps - begin)
            except ValueError:
                continue
            first = max(first_step - begin, 0)
            if first < count:
                number = epoch * self.parts + part + again * FURTHER
                plans = self.inner.plan(drawn, batch_size=batch_size, seed=seed, epoch=number, first_step=first)
                yield from islice(plans, count - first)
            begin += count
            if begin == steps:
                return
        raise ValueError("The clips that an epoch draws of the datasets fill no batch; choose larger weights.")

    def _drawn(self, table: ClipTable, seed: int, epoch: int, part: int, again: int = 0) -> ClipTable:
        """The clips of a part of an epoch, in the order of the table."""
        of = np.searchsorted(self.ends, table.rows, side="right")
        chosen = []
        for number, weight in enumerate(self.shares.tolist()):
            own = np.flatnonzero(of == number)
            labelled = table.labels[own] >= 0
            whole = math.floor(weight * len(own) + 0.5)
            with_label = math.floor(whole * np.count_nonzero(labelled) / max(len(own), 1) + 0.5)
            for kind, (clips, count) in enumerate(((own[labelled], with_label), (own[~labelled], whole - with_label))):
                draw = generator(seed, epoch, Stream.DATASETS, 2 * (again * len(self.ends) + number) + kind)
                chosen.append(self._slice(clips, count, part, draw))
        return table.take(np.sort(np.concatenate(chosen)))

    def _slice(self, clips: np.ndarray, count: int, part: int, draw: np.random.Generator) -> np.ndarray:
        """The clips of one part, of `count` in all parts: each as often as another, or once more."""
        begin, end = count * part // self.parts, count * (part + 1) // self.parts
        if end - begin == len(clips):
            return clips
        return clips[draw.permutation(len(clips))[np.arange(begin, end) % len(clips)]]
