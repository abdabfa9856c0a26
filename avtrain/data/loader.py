"""Planned batches, read ahead by one thread into a ring of buffers that are used again and again.

A batch is valid until `prefetch` more have been taken; clone what must live longer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from avprep.dataset import Dataset
from avtrain.data.batches import Batch, Buffers, Recipe
from avtrain.data.cache import CacheConfig
from avtrain.data.device_copies import Copies
from avtrain.data.reader import Reader
from avtrain.sampling import ClipTable, Strategy
from avtrain.sampling.windows import WindowSpec


class Loader:
    """Batches of `strategy` over `table`, epoch after epoch up to `epochs`; iterate once per state.

    `state_dict()` names the next batch to come; `load_state_dict` goes there, whatever the number of ranks was. Rank r
    of `world_size` gets the r-th contiguous `tensor_split` slice of each global plan. With `background`, a batch
    also has the sound of another of its pairs for each; with `positions`, windows are among that many evenly spread
    ones of each clip. `pinned` buffers make copies to CUDA faster; `cache` keeps shards of a remote dataset;
    `threads` read and decode. Without `window`, windows are the paper's. Memory: 2 * prefetch + 2 batches. With
    `copies`, batches come on a device, copied there ahead by the thread that reads: there, `prefetch` batches. With
    `encoded`, pictures of a JPEG dataset stay JPEGs until then, or until `Batch.to`, and are decoded there. Errors:
    UserError (a shard is gone, short or damaged; the strategy cannot serve this table, batch size or number of ranks; a
    window longer than each clip).
    """

    def __init__(
        self,
        dataset: Dataset,
        table: ClipTable,
        strategy: Strategy,
        *,
        batch_size: int,
        epochs: int,
        seed: int = 0,
        window: WindowSpec | None = None,
        background: bool = False,
        positions: int = 0,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 2,
        threads: int = 2,
        pinned: bool = False,
        cache: CacheConfig | None = None,
        copies: Copies | None = None,
        encoded: bool = False,
    ) -> None:
        if prefetch < 1 or threads < 1:
            raise ValueError(f"prefetch {prefetch} and threads {threads} must be 1 or more")
        self.recipe = Recipe(
            dataset=dataset,
            table=table,
            strategy=strategy,
            batch_size=batch_size,
            seed=seed,
            window=window,
            background=background,
            positions=positions,
            encoded=encoded,
            rank=rank,
            world_size=world_size,
        )
        self.epochs, self.steps_per_epoch = epochs, self.recipe.steps_per_epoch
        self.prefetch, self.threads, self.pinned, self.cache = prefetch, threads, pinned, cache
        self.copies = copies
        self._epoch, self._step = 0, 0

    def __len__(self) -> int:
        """Batches still to come."""
        return max(0, (self.epochs - self._epoch) * self.steps_per_epoch - self._step)

    def state_dict(self) -> dict[str, int]:
        """Position of the next batch: {"epoch", "step"}."""
        return {"epoch": self._epoch, "step": self._step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to the position that a state_dict names."""
        self._epoch, self._step = int(state["epoch"]), int(state["step"])

    def __iter__(self) -> Iterator[Batch]:
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=max(self.prefetch - 1, 1))
        stop = threading.Event()
        thread = threading.Thread(target=self._produce, args=(ready, stop), name="loader", daemon=True)
        thread.start()
        try:
            while True:
                begin = time.perf_counter()
                item = ready.get()
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                batch = replace(item, waited_seconds=time.perf_counter() - begin)
                self._epoch, self._step = divmod(
                    batch.epoch * self.steps_per_epoch + batch.step + 1, self.steps_per_epoch
                )
                yield batch if self.copies is None else self.copies.arrived(batch)
        finally:
            stop.set()
            thread.join()

    def _produce(self, ready: queue.Queue[Batch | BaseException | None], stop: threading.Event) -> None:
        try:
            # taken by the trainer: 1 + prefetch; waiting: prefetch - 1 or 1; being filled: 1
            ring = [self.recipe.buffers(self.pinned) for _ in range(2 * self.prefetch + 2)]
            with Reader(self.recipe.dataset, self.threads, self.cache) as reader:
                for batch in self._batches(reader, ring):
                    sent = batch if self.copies is None else self.copies.begin(batch)
                    if not _put(ready, sent, stop):
                        return
            _put(ready, None, stop)
        except BaseException as error:
            _put(ready, error, stop)

    def _batches(self, reader: Reader, ring: list[Buffers]) -> Iterator[Batch]:
        number, first_step = 0, self._step
        for epoch in range(self._epoch, self.epochs):
            for step, plan in self.recipe.plans(epoch, first_step):
                buffers = ring[number % len(ring)]
                buffers.wait()
                yield self.recipe.read(reader, buffers, plan, epoch, step)
                number += 1
            first_step = 0


def _put(ready: queue.Queue, item: object, stop: threading.Event) -> bool:
    """Queue `item`; False if the consumer has gone."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
