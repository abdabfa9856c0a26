"""Contrastive losses over a batch of pairs, both directions; half precision is computed in float32, under autocast too.

Notation: v_i and a_i are the unit embeddings of pair i's two sides, y(v_i) and y(a_i) their labels (-1: none), t the
temperature, B the number of pairs. All are one loss, `weighted_cross_entropy`, with targets and masks of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from avtrain.training.targets import PairBatch, overlap, same, with_partners

SUPPRESSED_SHARE = 0.1
Temperature = float | torch.Tensor
Loss = Callable[[torch.Tensor, torch.Tensor, PairBatch, Temperature], torch.Tensor]
"""(video [B, D], audio [B, D], pairs, temperature) -> scalar"""


def weighted_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor | None = None, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """The mean over both directions of -sum_i w_i sum_j T_ij log p_ij / sum_i w_i; a scalar.

    `logits` [B, B]: similarity of picture i and sound j over the temperature; -inf leaves sound j out of what picture i
    is compared with, and the other way round. p: the softmax over j. `targets` [B, B], 0 or more, bool or float: each
    row, and in the other direction each column, is divided by its sum; None: the diagonal. One that is all 0 counts as
    of weight 0. `weights` [B], 0 or more: of pair i in both directions; None: all alike. 0 where no pair counts.
    """
    other = None if targets is None else targets.T
    return (one_way(logits, targets, weights) + one_way(logits.T, other, weights)) / 2


def one_way(
    logits: torch.Tensor, targets: torch.Tensor | None = None, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """`weighted_cross_entropy` in the direction of the rows of `logits` alone."""
    _check_shapes(logits, targets, weights)
    if targets is None:
        partners = torch.arange(len(logits), device=logits.device)
        if weights is None:
            return F.cross_entropy(logits, partners)
        terms, counts = F.cross_entropy(logits, partners, reduction="none"), weights.to(logits.dtype)
    else:
        targets = targets.to(logits.dtype)
        sums = targets.sum(dim=1)
        log_shares = logits.log_softmax(dim=1).masked_fill(targets == 0, 0.0)  # of -inf too: 0 log 0 is 0
        terms = -(targets * log_shares).sum(dim=1) / torch.where(sums > 0, sums, 1)
        counts = (sums > 0).to(logits.dtype)
        counts = counts if weights is None else counts * weights.to(logits.dtype)
    total = counts.sum()
    return (counts * terms).sum() / torch.where(total > 0, total, 1)


def info_nce(
    video: torch.Tensor, audio: torch.Tensor, pairs: PairBatch, temperature: Temperature = 0.07
) -> torch.Tensor:
    """Symmetric InfoNCE of unit embeddings [B, D]: pair i against all others of the batch.

    L(v, a) = -1/B sum_i log [exp(v_i a_i / t) / sum_j exp(v_i a_j / t)]; ln B for embeddings that are all alike.
    Source: van den Oord et al. 2018; the paper's mean of both directions.
    """
    return weighted_cross_entropy(similarities(video, audio, temperature), None, pairs.weights)


def masked_info_nce(
    video: torch.Tensor, audio: torch.Tensor, pairs: PairBatch, temperature: Temperature = 0.07
) -> torch.Tensor:
    """InfoNCE in which another pair's side of the same class is no negative: it leaves the denominator.

    L(v, a) = -1/B sum_i log [exp(v_i a_i / t) / sum_{j in N(i)} exp(v_i a_j / t)], N(i) = {i} and all j whose y(a_j) is
    not y(v_i); a side of label -1 masks nothing and is masked nowhere. A batch of one class costs 0, with gradient 0.
    """
    logits = similarities(video, audio, temperature)
    others = _same(pairs, logits) & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return weighted_cross_entropy(logits.masked_fill(others, -math.inf), None, pairs.weights)


def supcon(video: torch.Tensor, audio: torch.Tensor, pairs: PairBatch, temperature: Temperature = 0.07) -> torch.Tensor:
    """InfoNCE in which every picture and sound of the same class are a positive pair.

    L(v, a) = -1/B sum_i 1/|P(i)| sum_{p in P(i)} log [exp(v_i a_p / t) / sum_j exp(v_i a_j / t)], P(i) = {i} and all p
    whose y(a_p) is y(v_i), where that is not -1; so i itself counts although its sides may be of two classes. Source:
    Khosla et al. 2020, equation 2 (the sum outside the logarithm), here between the two sides instead of among all
    embeddings, so the denominator has all B. With one class: at least ln B.
    """
    logits = similarities(video, audio, temperature)
    return weighted_cross_entropy(logits, with_partners(_same(pairs, logits)), pairs.weights)


def suppressed_info_nce(
    video: torch.Tensor, audio: torch.Tensor, pairs: PairBatch, temperature: Temperature = 0.07
) -> torch.Tensor:
    """InfoNCE in which the pairs most like one's own are no negatives, whatever their class; no label is used.

    L(v, a) as masked_info_nce, where N(i) leaves out the round(SUPPRESSED_SHARE (B - 1)) other pairs j of the greatest
    a_i a_j + v_i v_j, which carries no gradient. Source: elimination of false negatives (Huynh et al. 2022), with the
    likeness within each side that Zolfaghari et al. 2021 go by.
    """
    logits = similarities(video, audio, temperature)
    with torch.no_grad():
        alike = (similarities(audio, audio, 1.0) + similarities(video, video, 1.0)).fill_diagonal_(-math.inf)
        most = alike.topk(round(SUPPRESSED_SHARE * (len(alike) - 1)), dim=1).indices
        left_out = torch.zeros_like(alike, dtype=torch.bool).scatter_(1, most, True)
    one, other = (one_way(sides.masked_fill(left_out, -math.inf), None, pairs.weights) for sides in (logits, logits.T))
    return (one + other) / 2


def audio_supcon(
    video: torch.Tensor, audio: torch.Tensor, pairs: PairBatch, temperature: Temperature = 0.07
) -> torch.Tensor:
    """Supervised contrastive loss among the sounds alone: what the labels teach without any picture.

    -1/|I| sum_i 1/|P(i)| sum_{p in P(i)} log [exp(a_i a_p / t) / sum_{j != i} exp(a_i a_j / t)], P(i): all p other than
    i whose y_p is y_i, I: all i that have one. Source: Khosla et al. 2020, equation 2. A batch without I costs 0.
    """
    logits = similarities(audio, audio, temperature)
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    positives = same(_labels(pairs, logits)[:, [0, 0]]) & ~itself
    loss = one_way(logits.masked_fill(itself, -math.inf), positives, pairs.weights)
    return loss + 0 * video.sum()  # so that all weights have a gradient


def overlapping(
    video: torch.Tensor, audio: torch.Tensor, pairs: PairBatch, temperature: Temperature = 0.07
) -> torch.Tensor:
    """InfoNCE in which each picture and sound are positive by the share of their labels that they have in common.

    L(v, a) = -1/B sum_i sum_j T_ij / sum_k T_ik log [exp(v_i a_j / t) / sum_k exp(v_i a_k / t)], T_ij: the Jaccard
    index of the labels of v_i and a_j, 1 for j = i. With one label a clip it is supcon.
    """
    logits = similarities(video, audio, temperature)
    return weighted_cross_entropy(logits, with_partners(overlap(_labels(pairs, logits))), pairs.weights)


LOSSES: dict[str, Loss] = {
    "info-nce": info_nce,
    "mask": masked_info_nce,
    "supcon": supcon,
    "overlap": overlapping,
    "suppress": suppressed_info_nce,
    "audio-supcon": audio_supcon,
}
"""The losses by the names of config/rules.py."""


def similarities(video: torch.Tensor, audio: torch.Tensor, temperature: Temperature) -> torch.Tensor:
    """v_i a_j / t [B, B], in float32 or more. Errors: ValueError where the two are not both [B, D]."""
    if video.dim() != 2 or video.shape != audio.shape:
        raise ValueError(f"embeddings must both be [B, D], not {list(video.shape)} and {list(audio.shape)}")
    dtype = torch.promote_types(torch.promote_types(video.dtype, audio.dtype), torch.float32)
    with torch.autocast(video.device.type, enabled=False):
        return video.to(dtype) @ audio.to(dtype).T / temperature


def _same(pairs: PairBatch, logits: torch.Tensor) -> torch.Tensor:
    return same(_labels(pairs, logits))


def _labels(pairs: PairBatch, logits: torch.Tensor) -> torch.Tensor:
    """The labels of as many pairs as the logits are of, on their device. Errors: ValueError."""
    if len(pairs.labels) != len(logits):
        raise ValueError(f"labels must be of {len(logits)} pairs, not {len(pairs.labels)}")
    return pairs.labels.to(logits.device)


def _check_shapes(logits: torch.Tensor, targets: torch.Tensor | None, weights: torch.Tensor | None) -> None:
    count = len(logits)
    if logits.shape != (count, count) or (targets is not None and targets.shape != logits.shape):
        given = [list(each.shape) for each in (logits, targets) if each is not None]
        raise ValueError(f"logits and targets must both be [B, B], not {given}")
    if weights is not None and weights.shape != (count,):
        raise ValueError(f"weights must be [{count}], not {list(weights.shape)}")
