"""Seconds of an update of `pretrain`, with its loader or with one resident batch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import avtrain.training.setup
from avtrain.config import READ_THREADS, PretrainConfig
from avtrain.data.batches import Batch
from avtrain.data.loader import Loader
from avtrain.runs import folder as run_folder
from avtrain.training.pretrain import pretrain


class Resident(Loader):
    """The first batch, again and again."""

    def __iter__(self) -> Iterator[Batch]:
        batches = super().__iter__()
        batch = next(batches)
        batches.close()  # type: ignore[attr-defined]
        while True:
            yield batch


def seconds(
    loader: type[Loader],
    data: Path,
    config: PretrainConfig,
    warm: int,
    device: str = "cpu",
    read_threads: int = READ_THREADS,
) -> float:
    """Seconds an update of a run, the first `warm` left out."""
    with tempfile.TemporaryDirectory() as run, patch.object(avtrain.training.setup, "Loader", loader):
        pretrain(data, Path(run), config, device=device, read_threads=read_threads, quiet=True)
        lines = run_folder.read_metrics(Path(run))
    return (lines[-1]["seconds"] - lines[warm - 1]["seconds"]) / (len(lines) - warm)
