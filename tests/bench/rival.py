"""What a rival of our loader is, and what all of them share: windows, batches, worker processes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avprep.dataset import Dataset

FRAMES, MEL_FRAMES = 8, 100
WORKERS = 2
PROCESSES: dict[str, Any] = {"num_workers": WORKERS, "prefetch_factor": 2, "multiprocessing_context": "fork"}
ENDLESS = 1_000_000  # samples of an epoch that no measurement reaches the end of
Batches = Generator[Any, None, None]


@dataclass(frozen=True)
class Rival:
    """prepare(dataset, folder) writes its format; batches(dataset, folder, batch_size) yields without end.

    `batch_size`: its own, where a batch as large as the others' would last too long.
    """

    name: str
    prepare: Callable[[Dataset, Path], None]
    batches: Callable[[Dataset, Path, int], Batches]
    batch_size: int | None = None


def cut(frames: np.ndarray, logmel: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Copies of a window of the pictures and of the sound around it."""
    start = int(draw.integers(4, len(frames) - 12))
    mel = round(100 * (start / 16 - 0.25))
    return frames[start : start + FRAMES].copy(), logmel[mel : mel + MEL_FRAMES].copy()


def stacked(samples: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples as two tensors."""
    video, audio = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(video)), torch.from_numpy(np.stack(audio))


def nothing(_dataset: Dataset, _folder: Path) -> None:
    """The dataset's own shards are read."""
