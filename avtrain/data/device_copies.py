"""Batches on their way to a GPU: copied on a stream of their own by the thread that reads, while a step is computed.

The loader begins the copy of a batch when it has been read, so that it is under way, or there, when the trainer asks.
A loader's position still counts the batches that were taken, not those that were copied ahead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch

from avtrain.data.batches import Batch


class Copies(Protocol):
    """How batches of a loader reach their device."""

    def begin(self, batch: Batch) -> Batch:
        """The batch on the device, its copy begun. Called by the thread that reads."""
        ...

    def arrived(self, batch: Batch) -> Batch:
        """The batch, which what is computed from now on may use. Called where batches are taken."""
        ...


def copies_to(device: str) -> Copies | None:
    """Copies on a side stream of a CUDA device; None for the CPU, where batches are used where they are read."""
    return SideStream(device) if device.startswith("cuda") else None


class SideStream:
    """Copies by a stream of their own: a buffer of the loader is used again once its copy has been made."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._stream: torch.cuda.Stream | None = None

    def begin(self, batch: Batch) -> Batch:
        """The batch on the device; its buffers are marked with the end of the copy, and belong to the loader again."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        with torch.cuda.stream(self._stream):
            moved = batch.to(self._device)
        return replace(moved, copied=None if batch.buffers is None else batch.buffers.copied, buffers=None)

    def arrived(self, batch: Batch) -> Batch:
        """The batch; the stream of the step waits for its copy, and its memory is not given away before that stream."""
        stream = torch.cuda.current_stream(self._device)
        if batch.copied is not None:
            stream.wait_event(batch.copied)
        for tensor in batch.tensors:
            tensor.record_stream(stream)
        return batch
