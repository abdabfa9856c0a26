"""What every strategy shares: the table it plans over, its generators, the shape of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

ANCHORS, PARTNERS, WINDOWS, AUGMENTATION = range(4)


@dataclass(frozen=True)
class ClipTable:
    """What a planner may know: dataset rows int64 [N] and their labels int32 [N] (-1: none)."""

    rows: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.rows.shape != self.labels.shape or self.rows.ndim != 1:
            raise ValueError(f"rows {self.rows.shape} and labels {self.labels.shape} must be equal, flat shapes")

    def __len__(self) -> int:
        return len(self.rows)


class Strategy(Protocol):
    """A frozen dataclass that turns labels into plans."""

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch."""
        ...

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch, 2] of one epoch from `first_step` on; a pure function of its arguments."""
        ...


def generator(seed: int, epoch: int, stream: int, step: int | None = None) -> np.random.Generator:
    """The generator of a stream: of a whole epoch (`step` None) or of one step."""
    return np.random.default_rng([seed, epoch, stream, 0 if step is None else step + 1])


def check_batch(batch_size: int, clips: int) -> None:
    """ValueError unless a batch can be filled."""
    if not 1 <= batch_size <= clips:
        raise ValueError(f"A batch of {batch_size} cannot be drawn from {clips} clips; choose 1 to {clips}.")
