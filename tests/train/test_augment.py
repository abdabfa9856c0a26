"""What a batch becomes on its device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avtrain.data.augment import Normalise


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
