"""What the trainer's tests share: one CPU thread, and a dataset made of short clips."""

from __future__ import annotations

import pytest
import torch

from tests.train.forge import Forged, forge_dataset


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def short_dataset(tmp_path_factory):
    """14 forged clips of two classes; half are shorter than the second of sound that a window needs."""
    lengths = (0.1, 0.3, 0.55, 0.75, 0.99, 1.0, 2.37)
    clips = [Forged(label, seconds=seconds) for label in ("cat", "dog") for seconds in lengths]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "short", clips)
