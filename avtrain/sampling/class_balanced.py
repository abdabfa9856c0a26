"""class-balanced: each sound with its own picture, every class as often as every other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, exact_pairs, generator, whole_batches


@dataclass(frozen=True)
class ClassBalanced(Strategy):
    """audio_row == video_row; a pair's label is drawn from all labels alike, its clip from that label's clips alike.

    Draws are independent, with replacement: a clip of a small label comes often, even twice in a batch. Clips without
    label (-1) take no part; one of several labels comes by each of them.
    Batches: all of batch_size, 1 to M, the clips with a label; M // batch_size of them make an epoch.
    """

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: M // batch_size. Errors: ValueError if batch_size > M."""
        return whole_batches(int(np.count_nonzero(table.labels >= 0)), batch_size, "clips with a label")

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError if batch_size > M."""
        groups = table.groups
        for step in range(first_step, self.steps(table, batch_size)):
            draw = generator(seed, epoch, Stream.ANCHORS, step)
            label = draw.integers(0, len(groups), batch_size)
            drawn = groups.begins[label] + draw.integers(0, groups.sizes[label])
            yield exact_pairs(table.rows[groups.order[drawn]])
