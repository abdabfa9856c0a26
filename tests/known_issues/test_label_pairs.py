"""Losses that go by labels took the sound's for both sides, which is wrong for pairs of two classes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tests.train.pairwise import contrastive, info_nce

AUDIO, VIDEO = [0, 1, 2, -1, 1, 0], [1, 0, 2, 1, -1, 0]


def sides():
    draw = torch.Generator().manual_seed(0)
    return [F.normalize(torch.randn(6, 5, generator=draw, dtype=torch.float64), dim=1) for _ in range(2)]


def reference(video, audio, kind):
    """The formulas of the docstrings, term by term; picture i and sound j are of one class by their own labels."""
    total = 0.0
    same = [[v == a and v >= 0 for a in AUDIO] for v in VIDEO]
    for one, other, alike in ((video, audio, lambda i, j: same[i][j]), (audio, video, lambda i, j: same[j][i])):
        for i in range(6):
            logits = [float(one[i] @ other[j]) / 0.07 for j in range(6)]
            mates = [j for j in range(6) if j != i and alike(i, j)]
            left = mates if kind == "mask" else []
            bottom = math.log(math.fsum(math.exp(logits[j]) for j in range(6) if j not in left))
            positives = [i, *mates] if kind == "supcon" else [i]
            total += math.fsum(logits[p] - bottom for p in positives) / len(positives)
    return -total / 12


@pytest.mark.parametrize("kind", ["mask", "supcon"])
def test_both_sides_have_a_label(kind):
    video, audio = sides()
    labels = torch.tensor([AUDIO, VIDEO]).T
    found = contrastive(kind, video, audio, labels)
    assert found.item() == pytest.approx(reference(video, audio, kind), rel=1e-12)
    alike = contrastive(kind, video, audio, torch.tensor(AUDIO))
    assert found.item() != pytest.approx(alike.item(), rel=1e-3)
    assert alike == contrastive(kind, video, audio, torch.tensor([AUDIO, AUDIO]).T)


def test_a_picture_of_the_anchors_class_is_masked_although_its_own_sound_is_of_another():
    """Pair 0 is a cat's sound with a cat's picture, pair 1 a dog's sound with a cat's picture."""
    video, audio = (side[:2] for side in sides())
    labels = torch.tensor([[0, 0], [1, 0]])
    logits = video @ audio.T / 0.07
    sound_0 = 0.0  # both pictures are cats: no negative is left
    sound_1 = logits[1, 1] - torch.logsumexp(logits[:, 1], 0)
    pictures = torch.stack([logits[0, 0] - torch.logsumexp(logits[0], 0), torch.tensor(0.0)])
    expected = -(sound_0 + sound_1 + pictures.sum()) / 4
    assert contrastive("mask", video, audio, labels).item() == pytest.approx(expected.item(), rel=1e-12)
    assert contrastive("mask", video, audio, torch.tensor([0, 1])) == info_nce(video, audio)
