"""Contrastive losses against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avprep.shared.errors import UserError
from avtrain import config
from avtrain.models.temperature import Temperature
from tests.train.pairwise import contrastive, info_nce, masked_info_nce, supcon, suppressed_info_nce

LOSSES = [name for name in config.LOSS_NAMES if name != "overlap"]  # of one label a clip that is supcon
LABELS = [3, 5, 3, -1, 3, -1, 5, 8, 0, 0, 1, 3]


def embeddings(count, dim=16, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [F.normalize(torch.randn(count, dim, generator=draw, dtype=torch.float64), dim=1) for _ in range(2)]


def reference(video, audio, temperature, labels=None, kind="info-nce"):
    """The formulas of the docstrings, term by term: of either direction the mean over i of the terms of i."""
    labels = [-1] * len(video) if labels is None else labels
    if kind == "audio-supcon":
        return audio_reference(audio, temperature, labels)
    count, total = len(video), 0.0
    alike = video @ video.T + audio @ audio.T
    suppressed = [sorted((j for j in range(count) if j != i), key=lambda j: -alike[i, j]) for i in range(count)]
    for one, other in ((video, audio), (audio, video)):
        for i in range(len(one)):
            logits = [float(np.dot(one[i], other[j])) / temperature for j in range(len(other))]
            mates = [j for j in range(len(one)) if j != i and labels[i] != -1 and labels[j] == labels[i]]
            left = {"mask": mates, "suppress": suppressed[i][: round(0.1 * (count - 1))]}.get(kind, [])
            bottom = math.log(math.fsum(math.exp(logits[j]) for j in range(len(one)) if j not in left))
            positives = [i, *mates] if kind == "supcon" else [i]
            total += math.fsum(logits[p] - bottom for p in positives) / len(positives)
    return -total / (2 * len(video))


def audio_reference(audio, temperature, labels):
    """The formula of audio_supcon, term by term."""
    terms = []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        logits = {j: float(np.dot(audio[i], audio[j])) / temperature for j in others}
        bottom = math.log(math.fsum(map(math.exp, logits.values())))
        mates = [j for j in others if label != -1 and labels[j] == label]
        if mates:
            terms.append(math.fsum(logits[p] - bottom for p in mates) / len(mates))
    return -math.fsum(terms) / max(len(terms), 1)


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
def test_embeddings_without_information_cost_the_logarithm_of_the_batch(count):
    same = F.normalize(torch.ones(count, 8), dim=1)
    assert info_nce(same, same).item() == pytest.approx(math.log(count), rel=1e-6)


def test_pairs_that_match_cost_nothing_and_swapped_ones_much():
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


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_is_its_formula(kind, temperature):
    video, audio = embeddings(len(LABELS))
    expected = reference(video.numpy(), audio.numpy(), temperature, LABELS, kind)
    assert contrastive(kind, video, audio, torch.tensor(LABELS), temperature).item() == pytest.approx(
        expected, rel=1e-12
    )


def test_no_two_losses_are_the_same():
    video, audio = embeddings(len(LABELS))
    found = [contrastive(kind, video, audio, torch.tensor(LABELS)).item() for kind in LOSSES]
    assert found[1] < found[0] - 0.01
    assert min(abs(np.diff(sorted(found)))) > 0.01


@pytest.mark.parametrize("loss", [masked_info_nce, supcon])
@pytest.mark.parametrize("labels", [[-1] * 6, list(range(6)), [-1, 4, -1, 0, 2, -1]])
def test_without_two_of_a_class_the_variants_are_info_nce(loss, labels):
    video, audio = embeddings(6)
    assert loss(video, audio, torch.tensor(labels)).item() == pytest.approx(info_nce(video, audio).item(), rel=1e-14)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("labels", [[0, 0, -1, 1, 0], [2, 2, 2, 2, 2], [-1, -1, 0, 1, 1]])
def test_gradients_of_every_loss_and_of_the_temperature_are_finite_differences(kind, labels):
    video, audio = (side.requires_grad_() for side in embeddings(5, dim=3))
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor(labels)
    assert torch.autograd.gradcheck(lambda v, a, t: contrastive(kind, v, a, labels, t), (video, audio, temperature))


@pytest.mark.parametrize("count", [2, 9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_batch_of_one_class_masked_costs_exactly_nothing(count, dtype):
    video, audio = (side.to(dtype).requires_grad_() for side in embeddings(count))
    loss = masked_info_nce(video, audio, torch.zeros(count, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0
    assert (video.grad == 0).all()
    assert (audio.grad == 0).all()


@pytest.mark.parametrize("count", [2, 9])
def test_a_batch_of_one_class_under_supcon_costs_the_logarithm_of_the_batch_at_least(count):
    video, audio = embeddings(count)
    same = F.normalize(torch.ones(count, 8, dtype=torch.float64), dim=1)
    labels = torch.zeros(count, dtype=torch.int64)
    assert supcon(same, same, labels).item() == pytest.approx(math.log(count), rel=1e-12)
    assert supcon(video, audio, labels) > math.log(count)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("labels", [[0, 0], [0, 1], [-1, -1], [-1, 0]])
def test_a_batch_of_two(kind, labels):
    video, audio = embeddings(2)
    expected = reference(video.numpy(), audio.numpy(), 0.07, labels, kind)
    assert contrastive(kind, video, audio, torch.tensor(labels)).item() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_a_pair_is_never_suppressed_itself():
    corners = torch.eye(8, dtype=torch.float64) - 1 / 8  # of a simplex: each pair is unlike all others
    corners = F.normalize(corners, dim=1)
    one_left_out = math.log1p(6 * math.exp((-1 / 7 - 1) / 0.5))
    assert suppressed_info_nce(corners, corners, 0.5).item() == pytest.approx(one_left_out, rel=1e-9)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", LOSSES)
def test_half_precision_is_computed_in_float32(kind, dtype, autocast):
    video, audio = (side.to(dtype) for side in embeddings(len(LABELS)))
    labels = torch.tensor(LABELS)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = contrastive(kind, video, audio, labels)
        full = contrastive(kind, video.float(), audio.float(), labels)
    expected = contrastive(kind, video.float(), audio.float(), labels)
    assert found.dtype == torch.float32
    assert found == full == expected


def test_shapes_are_checked():
    video, audio = embeddings(4)
    with pytest.raises(ValueError, match=r"must both be \[B, D\], not \[4, 16\] and \[3, 16\]"):
        info_nce(video, audio[:3])
    with pytest.raises(ValueError, match=r"labels must be of 4 pairs, not 3"):
        supcon(video, audio, torch.zeros(3))


def test_a_learnt_temperature_begins_where_it_is_set_and_moves_with_its_gradient():
    temperature = Temperature(0.07)
    assert temperature().item() == pytest.approx(0.07, rel=1e-6)
    assert [name for name, _ in temperature.named_parameters()] == ["log_scale"]
    found = torch.eye(4)  # every pair is found, so a lower temperature costs less
    info_nce(found, found, temperature()).backward()
    assert temperature.log_scale.grad < 0


@pytest.mark.parametrize(("beyond", "bound"), [(9.0, 0.01), (-3.0, 1.0)])
def test_a_learnt_temperature_is_held_between_a_hundredth_and_one_and_can_leave_the_bound(beyond, bound):
    temperature = Temperature()
    with torch.no_grad():
        temperature.log_scale.fill_(beyond)
    value = temperature()
    assert value.item() == pytest.approx(bound, rel=1e-6)
    value.backward()
    assert temperature.log_scale.grad.item() == pytest.approx(-bound, rel=1e-6)
    assert temperature.log_scale.item() == pytest.approx(-math.log(bound), abs=1e-6)


@pytest.mark.parametrize("initial", [0.0, 0.009, 1.5])
def test_a_learnt_temperature_outside_its_bounds_is_refused(initial):
    with pytest.raises(UserError, match=r"starts between 0\.01 and 1, not at"):
        Temperature(initial)
