"""Contrastive losses over a batch of pairs, both directions; half precision is computed in float32, under autocast too.

Notation: v_i and a_i are the unit embeddings of pair i's two sides, y(v_i) and y(a_i) their labels (-1: none), t the
temperature, B the number of pairs. Each loss is (L(v, a) + L(a, v)) / 2. Labels are int [B, 2], those of the sounds and
of the pictures, as the columns of a plan; or [B] where both sides of each pair have one label.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from avtrain.config import SOUNDS_ALONE

SUPPRESSED_SHARE = 0.1


def contrastive(
    name: str, video: torch.Tensor, audio: torch.Tensor, labels: torch.Tensor, temperature: float | torch.Tensor = 0.07
) -> torch.Tensor:
    """The loss of a name of config.LOSSES for embeddings [B, D] and labels [B, 2] or [B]; a scalar."""
    if name == "info-nce":
        return info_nce(video, audio, temperature)
    if name == "suppress":
        return suppressed_info_nce(video, audio, temperature)
    if name == SOUNDS_ALONE:
        return (
            audio_supcon(audio, _sides(labels)[0], temperature) + 0 * video.sum()
        )  # so that all weights have a gradient
    return {"mask": masked_info_nce, "supcon": supcon}[name](video, audio, labels, temperature)


def info_nce(video: torch.Tensor, audio: torch.Tensor, temperature: float | torch.Tensor = 0.07) -> torch.Tensor:
    """Symmetric InfoNCE of unit embeddings [B, D]: pair i against all others of the batch.

    L(v, a) = -1/B sum_i log [exp(v_i a_i / t) / sum_j exp(v_i a_j / t)]; ln B for embeddings that are all alike.
    Source: van den Oord et al. 2018; the paper's mean of both directions.
    """
    return _both(_similarities(video, audio, temperature))


def masked_info_nce(
    video: torch.Tensor, audio: torch.Tensor, labels: torch.Tensor, temperature: float | torch.Tensor = 0.07
) -> torch.Tensor:
    """InfoNCE in which another pair's side of the same class is no negative: it leaves the denominator; labels [B, 2].

    L(v, a) = -1/B sum_i log [exp(v_i a_i / t) / sum_{j in N(i)} exp(v_i a_j / t)], N(i) = {i} and all j whose y(a_j) is
    not y(v_i); a side of label -1 masks nothing and is masked nowhere. A batch of one class costs 0, with gradient 0.
    """
    logits = _similarities(video, audio, temperature)
    same = _same_class(*_sides(labels), logits)
    others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    return _both(logits.masked_fill(others, -math.inf))


def supcon(
    video: torch.Tensor, audio: torch.Tensor, labels: torch.Tensor, temperature: float | torch.Tensor = 0.07
) -> torch.Tensor:
    """InfoNCE in which every picture and sound of the same class are a positive pair; labels [B, 2].

    L(v, a) = -1/B sum_i 1/|P(i)| sum_{p in P(i)} log [exp(v_i a_p / t) / sum_j exp(v_i a_j / t)], P(i) = {i} and all p
    whose y(a_p) is y(v_i), where that is not -1; so i itself counts although its sides may be of two classes. Source:
    Khosla et al. 2020, equation 2 (the sum outside the logarithm), here between the two sides instead of among all
    embeddings, so the denominator has all B. With one class: at least ln B.
    """
    logits = _similarities(video, audio, temperature)
    same = _same_class(*_sides(labels), logits)
    exact = torch.eye(len(same), dtype=torch.bool, device=same.device)
    positives = (same | exact).to(logits.dtype)
    one, other = (
        F.cross_entropy(sides, wanted / wanted.sum(dim=1, keepdim=True))
        for sides, wanted in ((logits, positives), (logits.T, positives.T))
    )
    return (one + other) / 2


def suppressed_info_nce(
    video: torch.Tensor, audio: torch.Tensor, temperature: float | torch.Tensor = 0.07
) -> torch.Tensor:
    """InfoNCE in which the pairs most like one's own are no negatives, whatever their class; no label is used.

    L(v, a) as masked_info_nce, where N(i) leaves out the round(SUPPRESSED_SHARE (B - 1)) other pairs j of the greatest
    a_i a_j + v_i v_j, which carries no gradient. Source: elimination of false negatives (Huynh et al. 2022), with the
    likeness within each side that Zolfaghari et al. 2021 go by.
    """
    logits = _similarities(video, audio, temperature)
    with torch.no_grad():
        alike = (_similarities(audio, audio, 1.0) + _similarities(video, video, 1.0)).fill_diagonal_(-math.inf)
        most = alike.topk(round(SUPPRESSED_SHARE * (len(alike) - 1)), dim=1).indices
        left_out = torch.zeros_like(alike, dtype=torch.bool).scatter_(1, most, True)
    pairs = torch.arange(len(logits), device=logits.device)
    one, other = (F.cross_entropy(sides.masked_fill(left_out, -math.inf), pairs) for sides in (logits, logits.T))
    return (one + other) / 2


def audio_supcon(audio: torch.Tensor, labels: torch.Tensor, temperature: float | torch.Tensor = 0.07) -> torch.Tensor:
    """Supervised contrastive loss among the sounds alone: what the labels teach without any picture; labels [B].

    -1/|I| sum_i 1/|P(i)| sum_{p in P(i)} log [exp(a_i a_p / t) / sum_{j != i} exp(a_i a_j / t)], P(i): all p other than
    i whose y_p is y_i, I: all i that have one. Source: Khosla et al. 2020, equation 2. A batch without I costs 0.
    """
    logits = _similarities(audio, audio, temperature)
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    positives = _same_class(labels, labels, logits) & ~itself
    log_shares = logits.masked_fill(itself, -math.inf).log_softmax(dim=1).masked_fill(~positives, 0.0)
    counts = positives.sum(dim=1)
    terms = log_shares.sum(dim=1) / counts.clamp_min(1)
    return -terms.sum() / (counts > 0).sum().clamp_min(1)


def _similarities(video: torch.Tensor, audio: torch.Tensor, temperature: float | torch.Tensor) -> torch.Tensor:
    """v_i a_j / t [B, B], in float32 or more. Errors: ValueError where the two are not both [B, D]."""
    if video.dim() != 2 or video.shape != audio.shape:
        raise ValueError(f"embeddings must both be [B, D], not {list(video.shape)} and {list(audio.shape)}")
    dtype = torch.promote_types(torch.promote_types(video.dtype, audio.dtype), torch.float32)
    with torch.autocast(video.device.type, enabled=False):
        return video.to(dtype) @ audio.to(dtype).T / temperature


def _both(logits: torch.Tensor) -> torch.Tensor:
    """The mean over both directions of -log softmax at the diagonal."""
    pairs = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def _sides(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels [B] of the sounds and of the pictures."""
    return (labels, labels) if labels.dim() == 1 else (labels[:, 0], labels[:, 1])


def _same_class(audio: torch.Tensor, video: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Whether picture i and sound j have one label, which is not -1: bool [B, B] on the device of the logits."""
    if not audio.shape == video.shape == logits.shape[:1]:
        raise ValueError(f"labels must be [{len(logits)}], not {list(audio.shape)}")
    audio, video = audio.to(logits.device), video.to(logits.device)
    return (video[:, None] == audio[None, :]) & (video[:, None] >= 0)
