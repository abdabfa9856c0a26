"""What a loss knows of a batch beside its embeddings, and targets T [B, B] made of it: T_ij is for picture i, sound j.

Labels are int64 [B, 2], of the sounds and of the pictures, as the columns of a plan; -1: none. Where clips may have
several, bool [B, 2, C]: which of the C labels each has.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PairBatch:
    """The pairs of the whole batch, of all ranks: what a loss may go by, on the device of the embeddings."""

    labels: torch.Tensor
    """int64 [B, 2], or bool [B, 2, C] of several a clip: the labels of the sounds and pictures that the loss may use"""
    rows: torch.Tensor
    """int64 [B, 2]: the dataset rows of the sounds and of the pictures"""
    weights: torch.Tensor | None = None
    """float32 [B]: how much each pair counts; None: all alike"""

    def __len__(self) -> int:
        return len(self.rows)


def same(labels: torch.Tensor) -> torch.Tensor:
    """bool [B, B]: whether picture i and sound j have a common label."""
    if labels.dtype == torch.bool:
        return _common(labels) > 0
    audio, video = labels[:, 0], labels[:, 1]
    return (video[:, None] == audio[None, :]) & (video[:, None] >= 0)


def overlap(labels: torch.Tensor) -> torch.Tensor:
    """float32 [B, B]: how many of the labels that picture i or sound j has both have (Jaccard), 0 without any."""
    if labels.dtype != torch.bool:
        return same(labels).float()
    common, (audio, video) = _common(labels), labels.sum(dim=2).float().unbind(1)
    either = video[:, None] + audio[None, :] - common
    return common / either.clamp_min(1)


def _common(labels: torch.Tensor) -> torch.Tensor:
    """float32 [B, B]: how many labels picture i and sound j have in common, of bool [B, 2, C]."""
    audio, video = labels.float().unbind(1)
    with torch.autocast(labels.device.type, enabled=False):
        return video @ audio.T


def with_partners(targets: torch.Tensor) -> torch.Tensor:
    """The targets, whose diagonal is at least 1 (True): each pair is its own positive."""
    own = torch.eye(len(targets), dtype=targets.dtype, device=targets.device)
    return targets | own if targets.dtype == torch.bool else torch.maximum(targets, own)


def alike(video: torch.Tensor, audio: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """float [B, B]: softmax over j of how like pair i is to pair j within each side, (v_i v_j + a_i a_j) / 2t.

    Targets from similarities: embeddings [B, D], of the model in training or of any other. They carry no gradient.
    """
    with torch.no_grad():
        return ((video @ video.T + audio @ audio.T) / (2 * temperature)).softmax(dim=1)
