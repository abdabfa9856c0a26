"""What a batch becomes on its device."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.config import PretrainConfig
from avtrain.data.augment import Augment, Normalise, SpecAugment
from avtrain.training.pretrain import pretrain
from tests.train.test_loader import loader_of


@pytest.fixture
def normalise():
    return Normalise(np.array([-40.0, -20.0, 0.0]), np.array([10.0, 0.25, 0.0]))


def test_pictures_have_imagenets_mean_and_deviation(normalise):
    frames = torch.zeros(1, 2, 3, 4, 3, dtype=torch.uint8)
    frames[..., :] = torch.tensor([255, 51, 0], dtype=torch.uint8)
    pictures = normalise.video(frames)
    assert pictures.shape == (1, 3, 2, 3, 4)
    assert pictures.dtype == torch.float32
    for channel, value in enumerate([(1 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0 - 0.406) / 0.225]):
        torch.testing.assert_close(pictures[:, channel], torch.full((1, 2, 3, 4), value))


def test_only_chosen_items_are_mirrored_and_only_left_to_right(normalise):
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 2, 4, 5, 3)).astype(np.uint8))
    plain = normalise.video(frames)
    mirrored = normalise.video(frames, torch.tensor([True, False, True]))
    assert torch.equal(mirrored[1], plain[1])
    for item in (0, 2):
        assert torch.equal(mirrored[item], normalise.video(torch.from_numpy(frames.numpy()[..., ::-1, :].copy()))[item])
        assert not torch.equal(mirrored[item], plain[item])


def test_bands_have_their_own_mean_and_a_deviation_of_one_decibel_or_more(normalise):
    logmel = torch.tensor([[[-30.0, -19.0, 2.5], [-40.0, -20.0, 0.0]]], dtype=torch.float16)
    sound = normalise.audio(logmel)
    assert sound.dtype == torch.float32
    torch.testing.assert_close(sound, torch.tensor([[[[1.0, 1.0, 2.5], [0.0, 0.0, 0.0]]]]))


def test_a_raw_batch_is_left_as_it_was(normalise):
    frames = torch.randint(0, 256, (2, 1, 4, 4, 3), dtype=torch.uint8)
    logmel = torch.randn(2, 5, 3).half()
    before = frames.clone(), logmel.clone()
    normalise.video(frames, torch.tensor([True, False]))
    normalise.audio(logmel)
    assert torch.equal(frames, before[0])
    assert torch.equal(logmel, before[1])


def test_a_batch_becomes_what_is_planned(short_dataset):
    dataset = Dataset(short_dataset)
    augment, normalise = Augment(dataset), Normalise(dataset.logmel_mean, dataset.logmel_std)
    flips = []
    for batch in loader_of(short_dataset, epochs=3):
        video, audio = augment(batch)
        assert torch.equal(video, normalise.video(batch.video, batch.flip))
        assert torch.equal(audio, normalise.audio(batch.audio))
        assert torch.equal(Augment(dataset, flip=False)(batch)[0], normalise.video(batch.video))
        flips += batch.flip.tolist()
    assert 0 < sum(flips) < len(flips)


def masked(folder, rank=0, world_size=1, seed=3, **sizes):
    """Masks [items, F, M] of two batches of 4, from one rank."""
    loader = loader_of(folder, epochs=1, rank=rank, world_size=world_size)
    augment = Augment(loader.recipe.dataset, spec_augment=SpecAugment(**sizes), seed=seed)
    plain = Augment(loader.recipe.dataset)
    found = []
    for batch in loader:
        sound, whole = augment(batch)[1][:, 0], plain(batch)[1][:, 0]
        assert torch.equal(sound[sound != 0], whole[sound != 0])
        found.append((sound == 0) & (whole != 0))
    return torch.stack(found[:2])


def test_masks_are_a_band_and_a_time_of_each_sound_and_the_same_on_any_rank(short_dataset):
    masks = masked(short_dataset, bands=3, frames=20)
    assert torch.equal(masks, masked(short_dataset, bands=3, frames=20))
    assert not torch.equal(masks, masked(short_dataset, bands=3, frames=20, seed=4))
    assert not torch.equal(masks[0], masks[1])
    assert len({item.numpy().tobytes() for item in masks[0]}) > 1
    ranks = [masked(short_dataset, rank, 3, bands=3, frames=20) for rank in range(3)]
    assert torch.equal(torch.cat(ranks, dim=1), masks)
    for item in masks.flatten(0, 1):
        bands, times = item.all(0), item.all(1)
        assert bands.sum() < 3
        assert times.sum() < 20
        assert (item == (bands[None, :] | times[:, None])).float().mean() > 0.9  # a value may be its band's mean
    assert masks.any()


def test_masks_leave_the_generator_of_weights_alone(short_dataset):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    masked(short_dataset)
    assert torch.equal(torch.rand(1), expected)


def test_a_torchaudio_that_does_not_load_is_refused_before_anything_is_written(short_dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio.functional", None)
    with pytest.raises(UserError, match=r"does not load beside torch .* install the torchaudio of that torch"):
        pretrain(short_dataset, tmp_path / "run", PretrainConfig(batch_size=2, spec_augment=True))
    assert not (tmp_path / "run").exists()
