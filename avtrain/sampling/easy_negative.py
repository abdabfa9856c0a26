"""easy-negative: each sound with its own picture, among clips of other classes only (Wang et al. 2024, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, exact_pairs, generator


@dataclass(frozen=True)
class EasyNegative(Strategy):
    """audio_row == video_row; the labels in a batch are all different; each clip at most once an epoch.

    Batches: all of batch_size, 1 to the number of labels. The epoch is the longest that there can be: it ends when
    fewer labels than batch_size have clips left. So a batch of all labels makes an epoch as long as the smallest label,
    and a label with more clips than the epoch has steps is in every batch; which of its clips come is drawn anew each
    epoch. The batches of a label are spread evenly over the epoch. Clips without label (-1) take no part. A clip of
    several labels counts by one of them, drawn by its row and the same in all epochs; clips of a batch may have another
    of their labels in common, which the loss `mask` leaves out.

    Cost: O(N) to the first batch asked for, whichever it is; O(N log steps) an epoch.
    """

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: the most, T, for which the sum over labels of min(clips, T) fills T batches.

        Errors: ValueError if batch_size is greater than the number of labels.
        """
        sizes = table.single_groups.sizes
        if not 1 <= batch_size <= len(sizes):
            raise ValueError(
                f"A batch of {batch_size} clips of different labels cannot be drawn from {len(sizes)} labels; "
                f"easy-negative needs a batch size of 1 to {len(sizes)}."
            )
        low, high = 1, int(sizes.sum()) // batch_size
        while low < high:
            middle = (low + high + 1) // 2
            if np.minimum(sizes, middle).sum() >= middle * batch_size:
                low = middle
            else:
                high = middle - 1
        return low

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError as in `steps`."""
        steps, groups = self.steps(table, batch_size), table.single_groups
        clips = groups.shuffled(generator(seed, epoch, Stream.ANCHORS))
        draw = generator(seed, epoch, Stream.LABELS)
        chosen = draw.permutation(len(groups))
        usable = np.minimum(groups.sizes[chosen], steps)
        counts = shared_out(usable, steps * batch_size, int(usable.sum()), draw)
        for positions in _batches(groups.begins[chosen], counts, 0, steps, max(first_step, 0), seed, epoch):
            yield exact_pairs(table.rows[clips[positions]])


def _batches(
    positions: np.ndarray, counts: np.ndarray, begin: int, end: int, first_step: int, seed: int, epoch: int
) -> Iterator[np.ndarray]:
    """Positions int64 [batch] of the clips of each step from `first_step` to `end`.

    Label i has `counts[i]` clips, from `positions[i]` on, to be used in the steps begin .. end, at most one a step. The
    steps are halved, each label's clips shared out between the halves in proportion, and so on down to single
    steps; so a later step is computed without those before it.
    """
    if end <= first_step:
        return
    used = counts > 0
    positions, counts = positions[used], counts[used]
    if end - begin == 1:
        yield positions
        return
    middle = (begin + end) // 2
    draw = generator(seed, epoch, Stream.LABELS, middle)
    mixed = draw.permutation(len(positions))
    positions, counts = positions[mixed], counts[mixed]
    early = shared_out(counts, middle - begin, end - begin, draw)
    yield from _batches(positions, early, begin, middle, first_step, seed, epoch)
    yield from _batches(positions + early, counts - early, middle, end, first_step, seed, epoch)


def shared_out(counts: np.ndarray, part: int, whole: int, draw: np.random.Generator) -> np.ndarray:
    """int64 like `counts`: counts x part / whole, rounded up or down by chance so that the sum is exact.

    Each number has its due expectation. `sum(counts) * part` must be a multiple of `whole`. (Systematic sampling of the
    remainders, in whole numbers: one of them is rounded up wherever their running sum passes a multiple of `whole`.)
    """
    down, rest = np.divmod(counts * part, whole)
    passed = (np.cumsum(rest) + draw.integers(whole)) // whole
    return down + np.diff(passed, prepend=0)
