"""Copies to the device come out of buffers that are used again: no buffer has new bytes before its copy has ended.

A copy is made late on purpose, behind a kernel that sleeps. On a CPU a thread takes the stream's part.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from avprep.dataset import Dataset
from avtrain.data.batches import Batch, Buffers
from avtrain.data.device_copies import Copies, SideStream
from avtrain.data.loader import Loader
from avtrain.data.plans import training_table
from avtrain.data.window_sizes import window_of
from avtrain.sampling import Random
from tests.gpu.bench import Bench
from tests.gpu.rows import Row, holds, measured
from tests.train.late_copies import LateCopies

Arrived = Callable[[], tuple[torch.Tensor, torch.Tensor]]
"""Waits for a copy; pictures and sounds on the CPU"""
BATCHES, OLD, POISON = 9, 7, 201


def copies(bench: Bench) -> Iterator[Row]:
    """Rows of a buffer that is overwritten, of a loader on a slow stream, and of what a copy costs."""
    send = _late_cuda if bench.cuda else _late_thread()
    buffers = Buffers(bench.size.equal_batch, Dataset(bench.raw), window_of(Dataset(bench.raw)), bench.cuda)
    waited, hasty = (_poisoned(bench, send, buffers, wait) for wait in (True, False))
    yield holds("poisoned buffer: the copy is waited for", not waited, "no poison arrived" if not waited else "POISON")
    yield holds("poisoned buffer: without waiting it is seen", hasty, "poison arrived" if hasty else "no poison")
    yield _slow_stream(bench, send)
    yield _rate(bench)
    yield _side_stream(bench)


def _late_cuda(bench: Bench, batch: Batch) -> Arrived:
    """Begin the trainer's own copy behind a kernel that sleeps."""
    clock_hz = 1e9  # cards have more, so that the delay is shorter than asked for, never longer by much
    torch.cuda._sleep(int(bench.size.delay_seconds * clock_hz))
    moved = batch.to(bench.device)

    def arrived() -> tuple[torch.Tensor, torch.Tensor]:
        bench.synchronise()
        return moved.video.cpu(), moved.audio.cpu()

    return arrived


def _late_thread() -> Callable[[Bench, Batch], Arrived]:
    """As `_late_cuda`, with a thread for a stream and its future for an event."""
    stream = ThreadPoolExecutor(1)

    class Event:
        def __init__(self, copied: Future[Any]) -> None:
            self.synchronize = copied.result

    def send(bench: Bench, batch: Batch) -> Arrived:
        def copy() -> tuple[torch.Tensor, torch.Tensor]:
            time.sleep(bench.size.delay_seconds)
            return batch.video.clone(), batch.audio.clone()

        copied = stream.submit(copy)
        assert batch.buffers is not None
        batch.buffers.copied = Event(copied)  # type: ignore[assignment]
        return copied.result

    return send


def _poisoned(bench: Bench, send: Callable[[Bench, Batch], Arrived], buffers: Buffers, wait: bool) -> bool:
    """Whether new bytes of a buffer arrive in place of the old ones, which were sent before."""
    count = len(buffers.video)
    buffers.video.fill_(OLD)
    batch = Batch(
        epoch=0,
        step=0,
        plan=np.zeros((count, 2), np.int64),
        first_item=0,
        global_size=count,
        video=buffers.video,
        audio=buffers.audio,
        flip=torch.zeros(count, dtype=torch.bool),
        buffers=buffers,
    )
    arrived = send(bench, batch)
    if wait:
        buffers.wait()
    buffers.video.fill_(POISON)
    return bool((arrived()[0] != OLD).any())


def _loader(bench: Bench, pinned: bool, copies: Copies | None = None) -> Loader:
    dataset = Dataset(bench.raw)
    options: dict[str, Any] = {"batch_size": bench.size.equal_batch, "epochs": BATCHES, "threads": bench.threads}
    return Loader(dataset, training_table(dataset), Random(), prefetch=1, pinned=pinned, copies=copies, **options)


def _slow_stream(bench: Bench, send: Callable[[Bench, Batch], Arrived]) -> Row:
    """Batches of a loader whose copies come late, against those that are read and kept at once."""
    plain = [
        (batch.video.clone(), batch.audio.clone()) for batch in itertools.islice(_loader(bench, pinned=False), BATCHES)
    ]
    sent = [send(bench, batch) for batch in itertools.islice(_loader(bench, pinned=bench.cuda), BATCHES)]
    wrong = sum(
        not all(torch.equal(one, other) for one, other in zip(arrived(), wanted, strict=True))
        for arrived, wanted in zip(sent, plain, strict=True)
    )
    return holds("loader on a slow stream", wrong == 0, f"{len(sent) - wrong} of {len(sent)} batches as read")


def _side_stream(bench: Bench) -> Row:
    """Batches as the trainer has them, copied ahead by a stream of their own that is slow."""
    plain = [
        (batch.video.clone(), batch.audio.clone()) for batch in itertools.islice(_loader(bench, pinned=False), BATCHES)
    ]
    copies: Copies = _Slow(bench) if bench.cuda else LateCopies(bench.size.delay_seconds)
    loader = _loader(bench, pinned=bench.cuda, copies=copies)
    kept = [(batch.video, batch.audio, loader.state_dict()) for batch in itertools.islice(loader, BATCHES)]
    wrong = sum(
        not (torch.equal(video.cpu(), wanted[0]) and torch.equal(audio.cpu(), wanted[1]))
        for (video, audio, _), wanted in zip(kept, plain, strict=True)
    )
    steps = [state["epoch"] * loader.steps_per_epoch + state["step"] for *_, state in kept]
    fine = wrong == 0 and steps == list(range(1, BATCHES + 1))
    value = f"{len(kept) - wrong} of {len(kept)} batches as read, the position is that of batches taken"
    return holds("copies ahead on a slow side stream", fine, value if fine else f"{wrong} wrong, positions {steps}")


class _Slow(SideStream):
    """Each copy waits behind a kernel that sleeps."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.device)
        self._cycles = int(bench.size.delay_seconds * 1e9)

    def begin(self, batch: Batch) -> Batch:
        self._stream = self._stream or torch.cuda.Stream(self._device)
        with torch.cuda.stream(self._stream):
            torch.cuda._sleep(self._cycles)
        return super().begin(batch)


def _rate(bench: Bench) -> Row:
    """What the copy of a batch takes out of the ring."""
    dataset = Dataset(bench.raw)
    loader = Loader(
        dataset, training_table(dataset), Random(), batch_size=bench.batch_size, epochs=1, pinned=bench.cuda
    )
    batches = iter(loader)
    batch = dataclasses.replace(next(batches), buffers=None)
    batch.to(bench.device)
    with bench.timed() as seconds:
        batch.to(bench.device)
    batches.close()  # type: ignore[attr-defined]
    size = batch.video.nbytes + batch.audio.nbytes
    return measured(
        f"copy of a batch of {len(batch.plan)}",
        f"{1e3 * seconds[0]:.2f} ms, {size / 1e6:.0f} MB",
        milliseconds=1e3 * seconds[0],
        bytes=size,
    )
