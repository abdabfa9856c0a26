"""Masks of SpecAugment reseeded the generators of all devices, on every rank alike; dropout then drew the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avprep.dataset import Dataset
from avtrain.data.augment import Augment, SpecAugment
from avtrain.data.batches import Batch
from tests.train.forge import Forged, forge_dataset


@pytest.fixture
def dataset(tmp_path):
    return Dataset(forge_dataset(tmp_path / "data", [Forged("ab"[row % 2]) for row in range(4)]))


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    plan = np.stack([np.arange(4)] * 2, axis=1)
    audio = torch.rand(4, 100, 6, generator=draw).half()
    frames = torch.zeros(4, 8, 8, 8, 3, dtype=torch.uint8)
    return Batch(0, 0, plan, 0, 4, frames, audio, torch.zeros(4, dtype=torch.bool))


def test_masks_leave_the_generators_of_devices_alone(dataset, batch, monkeypatch):
    """A CPU-only machine has none, so it is torch's way to seed them that must not be called."""
    augment = Augment(dataset, spec_augment=SpecAugment(bands=3, frames=20))

    def seeded(*_):
        raise AssertionError("the generators of CUDA are seeded")

    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, seeded)
    _, sounds = augment(batch)
    plain = Augment(dataset)(batch)[1]
    assert (sounds != plain).any()
    monkeypatch.undo()
    torch.testing.assert_close(augment(batch)[1], sounds)
