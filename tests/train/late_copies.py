"""Copies to a device as a slow stream makes them, with a thread in the place of the stream."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

from avtrain.data.batches import Batch


class LateCopies:
    """Copies that are made later, by another thread, one after the other."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self.stream, self.delay_seconds = ThreadPoolExecutor(1), delay_seconds
        self.begun: list[int] = []
        self.given: list[int] = []

    def begin(self, batch: Batch) -> Batch:
        """Steps are listed in `begun`."""

        def copy() -> Batch:
            time.sleep(self.delay_seconds)
            return dataclasses.replace(batch, video=batch.video.clone(), audio=batch.audio.clone(), buffers=None)

        made = self.stream.submit(copy)
        assert batch.buffers is not None
        batch.buffers.copied = type("Event", (), {"synchronize": lambda self: made.result()})()
        self.begun.append(batch.step)
        return dataclasses.replace(batch, copied=made, buffers=None)  # type: ignore[arg-type]

    def arrived(self, batch: Batch) -> Batch:
        """Steps are listed in `given`."""
        self.given.append(batch.step)
        made: Batch = batch.copied.result()  # type: ignore[union-attr]
        return dataclasses.replace(made, waited_seconds=batch.waited_seconds)
