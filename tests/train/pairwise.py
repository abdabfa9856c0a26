"""The losses of avtrain.training.losses by labels alone, [B] or [B, 2], as tests ask for them."""

from __future__ import annotations

import torch

from avtrain.training.losses import LOSSES
from avtrain.training.targets import PairBatch


def pairs_of(labels, weights=None):
    """The batch whose labels are these, [B, 2] or of both sides [B]; rows are 0, 1, 2 ..."""
    sides = labels if labels.dim() == 2 else torch.stack([labels, labels], dim=1)
    rows = torch.arange(len(sides))
    return PairBatch(sides, torch.stack([rows, rows], dim=1), weights)


def contrastive(name, video, audio, labels, temperature=0.07):
    return LOSSES[name](video, audio, pairs_of(labels), temperature)


def info_nce(video, audio, temperature=0.07):
    return contrastive("info-nce", video, audio, torch.full((len(video),), -1), temperature)


def suppressed_info_nce(video, audio, temperature=0.07):
    return contrastive("suppress", video, audio, torch.full((len(video),), -1), temperature)


def masked_info_nce(video, audio, labels, temperature=0.07):
    return contrastive("mask", video, audio, labels, temperature)


def supcon(video, audio, labels, temperature=0.07):
    return contrastive("supcon", video, audio, labels, temperature)
