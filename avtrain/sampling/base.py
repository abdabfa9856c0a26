"""What every strategy shares: the table it plans over, its generators, its two methods, the rule of whole batches."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

from avtrain.sampling.groups import Groups


class Stream(IntEnum):
    """The random streams of a run, part of every seed. Never renumber and never reuse a number: plans would change."""

    ANCHORS = 0
    PARTNERS = 1
    WINDOWS = 2
    AUGMENTATION = 3
    LABELS = 4
    LABELLED = 5
    LAYERS = 6
    PICTURES = 7
    SOUNDS = 8
    BACKGROUNDS = 9


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

    @cached_property
    def groups(self) -> Groups:
        """Positions in the table by label; found once, used by every epoch."""
        return Groups.of(self.labels)


class Strategy(ABC):
    """A frozen dataclass that turns labels into plans. What differs is said by its own docstring."""

    @abstractmethod
    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch, the same in all. Errors: ValueError, one sentence, where there can be none."""

    @abstractmethod
    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch, 2] of one epoch from `first_step` on; a pure function of its arguments.

        Errors: ValueError as in `steps`.
        """

    def smallest_batch(self, table: ClipTable, batch_size: int) -> int:
        """Pairs in an epoch's smallest batch: no more ranks than this can share it."""
        return batch_size

    def known_labels(self, table: ClipTable, seed: int) -> np.ndarray:
        """int32 [N]: the labels that plans, losses and validation may use; -1 also where the strategy withholds one."""
        return table.labels

    def fallbacks(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
        """bool [batch]: pairs of `plan` in which a clip that should have had a partner kept itself."""
        return np.zeros(len(plan), bool)


def digest(strategy: Strategy, table: ClipTable) -> str:
    """Hex sha256 of the arrays that plans are made from: rows, labels, and what a strategy brings along."""
    own = [getattr(strategy, field.name) for field in dataclasses.fields(strategy)]  # type: ignore[arg-type]
    found = hashlib.sha256()
    for array in (table.rows, table.labels, *(value for value in own if isinstance(value, np.ndarray))):
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def generator(seed: int, epoch: int, stream: Stream, step: int | None = None) -> np.random.Generator:
    """The generator of a stream: of a whole epoch (`step` None) or of one step."""
    return np.random.default_rng([seed, epoch, stream, 0 if step is None else step + 1])


def whole_batches(count: int, batch_size: int, things: str = "clips") -> int:
    """How many whole batches `count` `things` fill, one or more; ValueError where they fill none."""
    if not 1 <= batch_size <= count:
        raise ValueError(f"A batch of {batch_size} cannot be drawn from {count} {things}; choose 1 to {count}.")
    return count // batch_size


def exact_pairs(rows: np.ndarray) -> np.ndarray:
    """The plan int64 [batch, 2] in which every sound of `rows` meets its own picture."""
    return np.stack([rows, rows], axis=1)
