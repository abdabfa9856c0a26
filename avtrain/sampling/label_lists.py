"""Any number of labels a clip, as two flat arrays; nothing here loops over clips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class LabelLists:
    """The labels of N clips in CSR form: those of clip i are values[begins[i]:begins[i + 1]], each label once.

    begins int64 [N + 1], from 0 to the length of values int32 [M]; a clip may have none.
    """

    begins: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        begins = self.begins
        if begins.ndim != 1 or self.values.ndim != 1 or not len(begins):
            raise ValueError(f"begins {begins.shape} and values {self.values.shape} must be flat, begins not empty")
        if begins[0] != 0 or begins[-1] != len(self.values) or (np.diff(begins) < 0).any():
            raise ValueError(f"begins must rise from 0 to {len(self.values)}, the labels that there are")

    @classmethod
    def of(cls, clips: np.ndarray, labels: np.ndarray, count: int) -> LabelLists:
        """Lists of `count` clips from pairs of clip int [M] and label int [M], in the order of the pairs."""
        order = np.argsort(clips, kind="stable")
        begins = np.append(0, np.cumsum(np.bincount(clips, minlength=count))).astype(np.int64)
        return cls(begins, labels[order].astype(np.int32))

    def __len__(self) -> int:
        return len(self.begins) - 1

    @cached_property
    def sizes(self) -> np.ndarray:
        """int64 [N]: how many labels each clip has."""
        return np.diff(self.begins)

    @cached_property
    def clips(self) -> np.ndarray:
        """int64 [M]: the clip of each of `values`."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def first(self) -> np.ndarray:
        """int32 [N]: the first label of each clip, -1 where it has none."""
        return np.append(self.values, np.int32(-1))[np.where(self.sizes > 0, self.begins[:-1], len(self.values))]

    def entries(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(position in `clips`, position in `values`), int64 [m], of all labels of some clips int [n], clip by clip."""
        sizes = self.sizes[clips]
        owner = np.repeat(np.arange(len(clips)), sizes)
        before = np.cumsum(sizes) - sizes
        return owner, np.arange(len(owner)) + (self.begins[clips] - before)[owner]

    def take(self, clips: np.ndarray) -> LabelLists:
        """The lists of some clips: bool [N], or positions int [n] in any order."""
        positions = np.flatnonzero(clips) if clips.dtype == bool else clips
        _, entries = self.entries(positions)
        return LabelLists(np.append(0, np.cumsum(self.sizes[positions])).astype(np.int64), self.values[entries])

    def matrix(self, classes: int) -> np.ndarray:
        """bool [N, classes]: which labels each clip has."""
        has = np.zeros((len(self), classes), bool)
        has[self.clips, self.values] = True
        return has
