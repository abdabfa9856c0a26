"""Planned batches as a plain torch Dataset, for a DataLoader of your own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from avtrain.data.batches import Batch, Recipe
from avtrain.data.cache import CacheConfig
from avtrain.data.reader import Reader


class PlannedBatches(torch.utils.data.Dataset[Batch]):
    """Item k is batch k of one epoch, in memory of its own: `DataLoader(PlannedBatches(recipe), batch_size=None)`.

    Any number of worker processes may share it, each opens files of its own. The order must be that of the steps
    (no shuffling: plans are shuffled already), or each item costs the plans before it. Errors: as Loader.
    """

    def __init__(self, recipe: Recipe, epoch: int = 0, threads: int = 1, cache: CacheConfig | None = None) -> None:
        self.recipe, self.threads, self.cache = recipe, threads, cache
        self._reader: tuple[int, Reader] | None = None
        self.set_epoch(epoch)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_plans": None}

    def __len__(self) -> int:
        return self.recipe.steps_per_epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; before the DataLoader is iterated, since its workers copy this object then."""
        self.epoch = epoch
        self._plans: Iterator[tuple[int, np.ndarray]] | None = None
        self._next_step = 0

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < len(self):
            raise IndexError(f"batch {step} of {len(self)}")
        batch = self.recipe.read(self._opened(), self.recipe.buffers(), self._plan(step), self.epoch, step)
        return replace(batch, buffers=None)

    def _plan(self, step: int) -> np.ndarray:
        """The plan of a step; later steps are reached by drawing those between."""
        if self._plans is None or step < self._next_step:
            self._plans, self._next_step = self.recipe.plans(self.epoch, step), step
        for found, plan in self._plans:
            if found == step:
                self._next_step = step + 1
                return plan
        raise IndexError(f"the plan of epoch {self.epoch} ends before step {step}")

    def _opened(self) -> Reader:
        if self._reader is None or self._reader[0] != os.getpid():  # a forked worker cannot use its parent's threads
            self._reader = (os.getpid(), Reader(self.recipe.dataset, self.threads, self.cache))
        return self._reader[1]
