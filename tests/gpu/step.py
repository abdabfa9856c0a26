"""One update of the trainer on a batch that stays on the device: its own gradient and optimiser, without books."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from avtrain.data.batches import Batch
from avtrain.distributed import ALONE
from avtrain.sampling.accumulation import Position
from avtrain.training.gradient import Gradient
from avtrain.training.optimizer import optimiser_of
from avtrain.training.setup import make_ready
from tests.gpu.bench import Bench

TRAINERS, CONTIGUOUS, CHANNELS_LAST = "", "contiguous", "channels_last_3d"


@dataclass(frozen=True, kw_only=True)
class Way:
    """How an update is made; the defaults are the trainer's."""

    precision: str = "bf16"
    layout: str = TRAINERS
    """of pictures and 3D weights: the trainer's (pictures channels last, weights not); both contiguous; both channels
    last"""
    benchmark: bool = True
    """cuDNN tries its algorithms, as it does without --deterministic"""
    compile: bool = False

    def __str__(self) -> str:
        parts = (self.precision, self.layout, "no cudnn.benchmark" * (not self.benchmark), "compile" * self.compile)
        return ", ".join(part for part in parts if part)


def update_of(bench: Bench, way: Way, batch_size: int) -> Callable[[], float]:
    """A function that makes one update and returns its gradient norm, as the trainer waits for it."""
    config = bench.config(batch_size=batch_size, precision=way.precision, compile=way.compile)
    ready = make_ready(bench.raw, bench.folder / "out", config, device=bench.device, read_threads=bench.threads)
    gradient = Gradient(config=config, ready=ready, device=bench.device, ranks=ALONE)
    if way.layout == CHANNELS_LAST:
        for weights in ready.model.parameters():
            if weights.dim() == 5:
                weights.data = weights.data.contiguous(memory_format=torch.channels_last_3d)
    if way.layout == CONTIGUOUS:
        augment = gradient.augment
        gradient.augment = lambda batch: tuple(side.contiguous() for side in augment(batch))  # type: ignore[assignment]
    gradient.wrap_model()
    optimiser = optimiser_of(ready.model, config)
    batches = iter(ready.loader)
    batch: Batch = dataclasses.replace(next(batches).to(bench.device), buffers=None)
    batches.close()  # type: ignore[attr-defined]

    def update() -> float:
        optimiser.zero_grad(set_to_none=True)
        gradient.add(batch, Position(True, True, 1))
        norm = torch.nn.utils.clip_grad_norm_(ready.model.parameters(), math.inf)
        optimiser.step()
        return norm.item()

    return update
