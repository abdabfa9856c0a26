"""random: each sound with its own picture, clips in random order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avtrain.sampling.base import ANCHORS, ClipTable, check_batch, generator


@dataclass(frozen=True)
class Random:
    """audio_row == video_row; each clip at most once an epoch; the last N mod batch clips of an epoch are left out."""

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: N // batch_size."""
        check_batch(batch_size, len(table))
        return len(table) // batch_size

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError if batch_size > N."""
        for positions in anchor_batches(table, batch_size, seed, epoch, first_step):
            rows = table.rows[positions]
            yield np.stack([rows, rows], axis=1)


def anchor_batches(table: ClipTable, batch_size: int, seed: int, epoch: int, first_step: int) -> Iterator[np.ndarray]:
    """Positions int64 [batch_size] in the table: a seeded permutation, cut into whole batches."""
    check_batch(batch_size, len(table))
    order = generator(seed, epoch, ANCHORS).permutation(len(table))
    for step in range(first_step, len(table) // batch_size):
        yield order[step * batch_size : (step + 1) * batch_size]
