"""InfoNCE against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avtrain.losses import info_nce


def embeddings(count, dim=16, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [F.normalize(torch.randn(count, dim, generator=draw, dtype=torch.float64), dim=1) for _ in range(2)]


def reference(video, audio, temperature):
    """-1/2B sum_i [log softmax_j(v_i a_j / t)_i + log softmax_j(a_i v_j / t)_i], term by term."""
    total = 0.0
    for one, other in ((video, audio), (audio, video)):
        for i in range(len(one)):
            logits = [float(np.dot(one[i], other[j])) / temperature for j in range(len(other))]
            total += logits[i] - math.log(math.fsum(math.exp(value) for value in logits))
    return -total / (2 * len(video))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("count", [2, 9])
def test_info_nce_is_its_formula(count, temperature):
    video, audio = embeddings(count)
    expected = reference(video.numpy(), audio.numpy(), temperature)
    assert info_nce(video, audio, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_the_papers_temperature_is_the_default():
    video, audio = embeddings(5)
    assert info_nce(video, audio) == info_nce(video, audio, 0.07)


@pytest.mark.parametrize("count", [2, 64])
def test_embeddings_that_say_nothing_cost_the_logarithm_of_the_batch(count):
    same = F.normalize(torch.ones(count, 8), dim=1)
    assert info_nce(same, same).item() == pytest.approx(math.log(count), rel=1e-6)


def test_pairs_that_are_found_cost_nothing_and_swapped_ones_much():
    found = torch.eye(4)
    assert info_nce(found, found).item() < 1e-4
    assert info_nce(found, found.roll(1, 0)).item() > 10


def test_both_sides_count_alike():
    video, audio = embeddings(7)
    assert info_nce(video, audio).item() == pytest.approx(info_nce(audio, video).item(), rel=1e-12)


def test_the_order_of_the_pairs_does_not_matter():
    video, audio = embeddings(7)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    assert info_nce(video[order], audio[order]).item() == pytest.approx(info_nce(video, audio).item(), rel=1e-12)


def test_gradients_are_those_of_finite_differences():
    video, audio = (side.requires_grad_() for side in embeddings(4, dim=3))
    assert torch.autograd.gradcheck(lambda v, a: info_nce(v, a, 0.3), (video, audio))
