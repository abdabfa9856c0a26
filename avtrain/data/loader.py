"""Planned batches, read ahead by one thread into a ring of buffers that are used again and again.

A batch is valid until `prefetch` more have been taken; clone what must live longer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from avprep.dataset import Dataset
from avtrain.data.reader import Reader
from avtrain.data.routing import batch_ranges, window_of
from avtrain.sampling import ClipTable, Strategy
from avtrain.sampling.windows import WindowSpec, draw_windows
from avtrain.strategies import steps_of


@dataclass(frozen=True)
class Batch:
    """This rank's slice of a planned batch.

    video uint8 [b, T, H, W, 3]; audio float16 [b, F, M] dB; flip bool [b]; plan int64 [b, 2] of dataset rows;
    `global_size` pairs over all ranks; `waited_seconds` that the trainer stood still for it.
    """

    epoch: int
    step: int
    plan: np.ndarray
    global_size: int
    video: torch.Tensor
    audio: torch.Tensor
    flip: torch.Tensor
    waited_seconds: float = field(default=0.0, compare=False)


class _Slot:
    """One ring buffer, as tensors and as the numpy arrays over the same memory; pinned where CUDA is used."""

    def __init__(self, batch: int, dataset: Dataset, spec: WindowSpec, pinned: bool) -> None:
        size = dataset.frame_size
        self.video = torch.empty((batch, spec.num_frames, size, size, 3), dtype=torch.uint8, pin_memory=pinned)
        self.audio = torch.empty(
            (batch, spec.num_mel_frames, dataset.num_mel_bands), dtype=torch.float16, pin_memory=pinned
        )
        self.video_array, self.audio_array = self.video.numpy(), self.audio.numpy()


class Loader:
    """Batches of `strategy` over `table`, epoch after epoch up to `epochs`; iterate once per state.

    `state_dict()` names the next batch to come; `load_state_dict` goes there. Rank r of `world_size` gets the r-th
    contiguous `tensor_split` slice of each global plan. Errors: UserError (a shard is gone or short; the strategy
    cannot serve this table, batch size or number of ranks).
    """

    def __init__(
        self,
        dataset: Dataset,
        table: ClipTable,
        strategy: Strategy,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        window: WindowSpec | None = None,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 2,
        threads: int = 2,
        pinned: bool = False,
    ) -> None:
        self.dataset, self.table, self.strategy = dataset, table, strategy
        self.batch_size, self.epochs, self.seed = batch_size, epochs, seed
        self.window = window or window_of(dataset)
        self.rank, self.world_size = rank, world_size
        self.prefetch, self.threads, self.pinned = prefetch, threads, pinned
        self.steps_per_epoch = steps_of(strategy, table, batch_size, world_size)
        self._epoch, self._step = 0, 0

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
                object.__setattr__(item, "waited_seconds", time.perf_counter() - begin)
                self._epoch, self._step = item.epoch, item.step + 1
                if self._step == self.steps_per_epoch:
                    self._epoch, self._step = item.epoch + 1, 0
                yield item
        finally:
            stop.set()
            thread.join()

    def _produce(self, ready: queue.Queue[Batch | BaseException | None], stop: threading.Event) -> None:
        try:
            size = len(np.array_split(np.empty(self.batch_size), self.world_size)[self.rank])
            # taken by the trainer: 1 + prefetch; waiting: prefetch - 1 or 1; being filled: 1
            count = 2 * self.prefetch + 2
            slots = [_Slot(size, self.dataset, self.window, self.pinned) for _ in range(count)]
            with Reader(self.dataset, self.threads) as reader:
                for batch in self._batches(reader, slots):
                    if not _put(ready, batch, stop):
                        return
            _put(ready, None, stop)
        except BaseException as error:
            _put(ready, error, stop)

    def _batches(self, reader: Reader, slots: list[_Slot]) -> Iterator[Batch]:
        number, first_step = 0, self._step
        for epoch in range(self._epoch, self.epochs):
            plans = self.strategy.plan(
                self.table, batch_size=self.batch_size, seed=self.seed, epoch=epoch, first_step=first_step
            )
            for step, plan in enumerate(plans, start=first_step):
                yield self._read(reader, slots[number % len(slots)], plan, epoch, step)
                number += 1
            first_step = 0

    def _read(self, reader: Reader, slot: _Slot, plan: np.ndarray, epoch: int, step: int) -> Batch:
        windows = draw_windows(plan, self.dataset.num_frames, self.window, seed=self.seed, epoch=epoch, step=step)
        mine = np.array_split(np.arange(len(plan)), self.world_size)[self.rank]
        video, audio = batch_ranges(self.dataset, plan[mine], windows.take(mine), self.window)
        reader.read_frames(video, slot.video_array[: len(mine)])
        reader.read_logmel(audio, slot.audio_array[: len(mine)])
        return Batch(
            epoch,
            step,
            plan[mine],
            len(plan),
            slot.video[: len(mine)],
            slot.audio[: len(mine)],
            torch.from_numpy(windows.flip[mine]),
        )


def _put(ready: queue.Queue, item: object, stop: threading.Event) -> bool:
    """Queue `item`; False if the consumer has gone."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
