"""random: each sound with its own picture, clips in random order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, exact_pairs, generator, whole_batches


@dataclass(frozen=True)
class Random(Strategy):
    """audio_row == video_row; each clip at most once an epoch. Labels play no part.

    Batches: all of batch_size, 1 to N; the last N mod batch_size clips of an epoch are left out, others each time.
    """

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: N // batch_size. Errors: ValueError if batch_size > N."""
        return whole_batches(len(table), batch_size)

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError if batch_size > N."""
        for positions in permuted_batches(len(table), batch_size, seed, epoch, first_step):
            yield exact_pairs(table.rows[positions])


def permuted_batches(
    count: int, batch_size: int, seed: int, epoch: int, first_step: int, things: str = "clips"
) -> Iterator[np.ndarray]:
    """Numbers int64 [batch_size] below `count`: a seeded permutation of `things`, cut into whole batches."""
    steps = whole_batches(count, batch_size, things)
    order = generator(seed, epoch, Stream.ANCHORS).permutation(count)
    for step in range(first_step, steps):
        yield order[step * batch_size : (step + 1) * batch_size]
