"""hard-negative: each sound with its own picture, among clips of the same class only (Wang et al. 2024, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, exact_pairs, generator

FEWEST_PAIRS = 2


@dataclass(frozen=True)
class HardNegative(Strategy):
    """audio_row == video_row; one label in a batch; each clip at most once an epoch.

    Batches: each label's clips, shuffled anew each epoch, are cut into batches of batch_size (2 or more); the last of a
    label is smaller, and a remainder of one clip, which would have no negatives, is left out. The batches of all labels
    come in random order. A batch_size above a label's clips takes the whole label as a batch. A label with one clip,
    and clips without label (-1), take no part. A clip of several labels comes once an epoch for each of them.
    """

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch. Errors: ValueError if batch_size < 2 or no label has two clips."""
        return int(self._batches_of(table, batch_size).sum())

    def smallest_batch(self, table: ClipTable, batch_size: int) -> int:
        """The smallest remainder of a label, or batch_size where none has one."""
        self.steps(table, batch_size)
        remainders = table.groups.sizes % batch_size
        return int(remainders[remainders >= FEWEST_PAIRS].min(initial=batch_size))

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [2 to batch_size, 2] of one epoch from `first_step` on. Errors: ValueError as in `steps`."""
        groups, counts = table.groups, self._batches_of(table, batch_size)
        clips = groups.shuffled(generator(seed, epoch, Stream.ANCHORS))
        group = np.repeat(np.arange(len(groups)), counts)
        number = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
        begins = groups.begins[group] + number * batch_size
        ends = np.minimum(begins + batch_size, (groups.begins + groups.sizes)[group])
        for batch in generator(seed, epoch, Stream.LABELS).permutation(len(group))[first_step:]:
            yield exact_pairs(table.rows[clips[begins[batch] : ends[batch]]])

    def _batches_of(self, table: ClipTable, batch_size: int) -> np.ndarray:
        """Batches int64 [labels] of each label."""
        if batch_size < FEWEST_PAIRS:
            raise ValueError(f"hard-negative needs a batch size of {FEWEST_PAIRS} or more, not {batch_size}.")
        whole, rest = np.divmod(table.groups.sizes, batch_size)
        counts = whole + (rest >= FEWEST_PAIRS)
        if not counts.any():
            raise ValueError("hard-negative finds no label with two clips; another strategy or label column can train.")
        return counts
