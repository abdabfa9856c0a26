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
from avtrain.sampling.label_lists import LabelLists


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
    DATASETS = 10


@dataclass(frozen=True)
class ClipTable:
    """What a planner may know: dataset rows int64 [N] and their labels int32 [N] (-1: none).

    Where clips may have several labels, `lists` has all of them, and `labels` the first of each clip.
    `confidence` float32 [N], where it is known: the probability that each label is right, 1 where there is none.
    """

    rows: np.ndarray
    labels: np.ndarray
    lists: LabelLists | None = None
    confidence: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.rows.shape != self.labels.shape or self.rows.ndim != 1:
            raise ValueError(f"rows {self.rows.shape} and labels {self.labels.shape} must be equal, flat shapes")
        if self.lists is not None and len(self.lists) != len(self.rows):
            raise ValueError(f"there are {len(self.rows)} rows and {len(self.lists)} lists of labels")
        if self.confidence is not None and self.confidence.shape != self.rows.shape:
            raise ValueError(f"confidence {self.confidence.shape} must be of the shape of rows {self.rows.shape}")

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def confidence_by_row(self) -> np.ndarray | None:
        """float32 [largest row + 1]: the confidence by dataset row, where it is known."""
        if self.confidence is None:
            return None
        by_row = np.ones(int(self.rows.max(initial=-1)) + 1, np.float32)
        by_row[self.rows] = self.confidence
        return by_row

    @cached_property
    def groups(self) -> Groups:
        """Positions in the table by label, of several labels by each; made once, used by every epoch."""
        return Groups.of(self.labels) if self.lists is None else Groups.of_lists(self.lists)

    @cached_property
    def single_groups(self) -> Groups:
        """`groups` in which a clip is in one at most: of several labels one is drawn by its row, ever the same."""
        if self.lists is None:
            return self.groups
        lots = lots_of(self.rows, generator(0, 0, Stream.LABELS))
        chosen = self.lists.begins[:-1] + (lots % np.maximum(self.lists.sizes, 1).astype(np.uint64)).astype(np.int64)
        return Groups.of(np.where(self.labels < 0, -1, np.append(self.lists.values, np.int32(-1))[chosen]))

    def take(self, chosen: np.ndarray) -> ClipTable:
        """The table of some clips: bool [N], or positions int [n]."""
        lists = None if self.lists is None else self.lists.take(chosen)
        confidence = None if self.confidence is None else self.confidence[chosen]
        return ClipTable(self.rows[chosen], self.labels[chosen], lists, confidence)


class Strategy(ABC):
    """A frozen dataclass that turns labels into plans, each by the rules in its own docstring."""

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

    def known_lists(self, table: ClipTable, seed: int) -> LabelLists | None:
        """`known_labels` where clips may have several; None where they have one."""
        return table.lists

    def known_table(self, table: ClipTable, seed: int) -> ClipTable:
        """The table with the labels that may be used."""
        return ClipTable(table.rows, self.known_labels(table, seed), self.known_lists(table, seed))

    def fallbacks(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
        """bool [batch]: pairs of `plan` in which a clip that should have had a partner kept itself."""
        return np.zeros(len(plan), bool)

    def weights(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray | None:
        """float32 [batch]: how much each pair of `plan` counts in the loss, 0 or more; None: all alike.

        A pure function of its arguments, as `plan`; only the ratios within a batch matter.
        """
        return None

    def arrays(self) -> list[np.ndarray]:
        """The arrays that the strategy brings along, such as given pairs; they are part of a run's plan digest."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return [value for value in values if isinstance(value, np.ndarray)]


def pair_weights(
    strategy: Strategy, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int
) -> np.ndarray | None:
    """How much each pair of a plan counts in the loss, float32 [batch]; None: all alike.

    The weights of the strategy, times the confidence of both labels in a pair of two clips where the table has it: a
    clip's sound belongs to its own picture whatever their label.
    """
    weights = strategy.weights(table, plan, seed=seed, epoch=epoch, step=step)
    confidence = table.confidence_by_row
    if confidence is None:
        return weights
    audio, video = plan.T
    sure = np.where(audio == video, np.float32(1), confidence[audio] * confidence[video])
    return sure if weights is None else weights * sure


def digest(strategy: Strategy, table: ClipTable) -> str:
    """Hex sha256 of the arrays that plans and weights are made from: the table's, and those of the strategy."""
    lists = [] if table.lists is None else [table.lists.begins, table.lists.values]
    confidence = [] if table.confidence is None else [table.confidence]
    hashed = hashlib.sha256()
    for array in (table.rows, table.labels, *lists, *confidence, *strategy.arrays()):
        hashed.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return hashed.hexdigest()


def generator(seed: int, epoch: int, stream: Stream, step: int | None = None) -> np.random.Generator:
    """The generator of a stream: of a whole epoch (`step` None) or of one step."""
    return np.random.default_rng([seed, epoch, stream, 0 if step is None else step + 1])


def lots_of(rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """uint64 [N]: a lot for each dataset row, whatever other rows there are (splitmix64 of the row and one number)."""
    mixed = rows.astype(np.uint64) + draw.integers(0, 2**64, dtype=np.uint64, endpoint=False)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def whole_batches(count: int, batch_size: int, things: str = "clips") -> int:
    """How many whole batches `count` `things` fill, one or more; ValueError where they fill none."""
    if not 1 <= batch_size <= count:
        raise ValueError(f"A batch of {batch_size} cannot be drawn from {count} {things}; choose 1 to {count}.")
    return count // batch_size


def exact_pairs(rows: np.ndarray) -> np.ndarray:
    """The plan int64 [batch, 2] in which every sound of `rows` meets its own picture."""
    return np.stack([rows, rows], axis=1)
