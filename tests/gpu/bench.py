"""What the checks share: the device, the sizes, the folder with the datasets and a short run, and clocks."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from avtrain.config import PretrainConfig
from avtrain.training.pretrain import pretrain
from tests.gpu.sizes import Size
from tests.train.forge import Forged, forge_dataset

CLASSES, SECONDS, MEL_BANDS = 8, 1.2, 128
REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclass(kw_only=True)
class Bench:
    """Where checks work. `folder` may be one of an earlier time: its datasets are used again."""

    device: str
    size: Size
    folder: Path
    python: list[str] = field(default_factory=lambda: [sys.executable])
    """the words that start Python"""
    threads: int = 2
    """that read and decode"""
    batch_size: int = 0
    """the largest that a step fits with, once it is known"""

    def __post_init__(self) -> None:
        self.batch_size = self.size.batch_size

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def precision(self) -> str:
        """That runs are trained in."""
        return "bf16" if self.cuda else "fp32"

    @cached_property
    def raw(self) -> Path:
        """The dataset of noise with raw pictures."""
        return self._dataset("raw", self.size.clips)

    @cached_property
    def jpeg(self) -> Path:
        """The one with jpegs."""
        return self._dataset("jpeg", self.size.jpeg_clips)

    def _dataset(self, codec: str, clips: int) -> Path:
        folder = self.folder / f"{codec}-{self.size.frame_size}px-{clips}"
        if (folder / "dataset.json").exists():
            return folder
        every = [
            Forged(f"c{number % CLASSES}", split, seconds=SECONDS)
            for split, count in (("train", clips), ("test", self.size.test_clips))
            for number in range(count)
        ]
        return forge_dataset(folder, every, 32, codec, self.size.frame_size, MEL_BANDS)

    @cached_property
    def run(self) -> Path:
        """A run of two updates, for what begins with one."""
        folder = self.fresh("run")
        pretrain(self.raw, folder, self.config(max_steps=2), device=self.device, quiet=True)
        return folder

    def config(self, **settings: object) -> PretrainConfig:
        """Settings of a run at this size, without validation."""
        base = {"model_size": self.size.model_size, "batch_size": min(self.batch_size, 64), "val_every": 0}
        return PretrainConfig(**{**base, "precision": self.precision, **settings})  # type: ignore[arg-type]

    def fresh(self, name: str) -> Path:
        """A folder that does not exist yet, in one of this process."""
        number = 0
        while (folder := self.folder / "out" / f"{name}{number}").exists():
            number += 1
        folder.parent.mkdir(exist_ok=True)
        return folder

    def synchronise(self) -> None:
        """Return when the device has done all that it was given."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def clean(self) -> None:
        """Free what nothing holds, and count the memory anew."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory_bytes(self) -> int:
        """The most that tensors had on the card since `clean`; 0 on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.cuda else 0

    def memory(self) -> str:
        """The same as text."""
        return f", {self.memory_bytes() / 1e9:.1f} GB" if self.cuda else ""

    @contextlib.contextmanager
    def timed(self) -> Iterator[list[float]]:
        """A list that has the seconds of the block once it ends."""
        seconds: list[float] = []
        self.synchronise()
        begin = time.perf_counter()
        yield seconds
        self.synchronise()
        seconds.append(time.perf_counter() - begin)
