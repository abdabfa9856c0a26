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

    Any number of worker processes may share it, each opens files of its own, and persistent workers
    (`persistent_workers=True`) follow `set_epoch`: the epoch is in memory that they share. The order must be that of
    the steps (no shuffling: plans are shuffled already), or each item costs the plans before it. Errors: as Loader.
    """

    def __init__(self, recipe: Recipe, epoch: int = 0, threads: int = 1, cache: CacheConfig | None = None) -> None:
        self.recipe, self.threads, self.cache = recipe, threads, cache
        self._reader: tuple[int, Reader] | None = None
        self._plans: tuple[int, int, Iterator[tuple[int, np.ndarray]]] | None = None
        self._epoch = torch.tensor(epoch).share_memory_()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_plans": None}

    def __len__(self) -> int:
        return self.recipe.steps_per_epoch

    @property
    def epoch(self) -> int:
        """The epoch whose batches are items, the same in all processes that share this object."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, here and in workers that run already; not while a DataLoader is being iterated."""
        self._epoch.fill_(epoch)

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < len(self):
            raise IndexError(f"batch {step} of {len(self)}")
        epoch = self.epoch
        batch = self.recipe.read(self._opened(), self.recipe.buffers(), self._plan(epoch, step), epoch, step)
        return replace(batch, buffers=None)

    def _plan(self, epoch: int, step: int) -> np.ndarray:
        """The plan of a step; later steps are reached by drawing those between."""
        if self._plans is None or self._plans[0] != epoch or step < self._plans[1]:
            self._plans = epoch, step, self.recipe.plans(epoch, step)
        for number, plan in self._plans[2]:
            if number == step:
                self._plans = epoch, step + 1, self._plans[2]
                return plan
        raise IndexError(f"the plan of epoch {epoch} ends before step {step}")

    def _opened(self) -> Reader:
        if self._reader is None or self._reader[0] != os.getpid():  # a forked worker cannot use its parent's threads
            self._reader = (os.getpid(), Reader(self.recipe.dataset, self.threads, self.cache))
        return self._reader[1]
