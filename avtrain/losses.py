"""Contrastive losses over a batch of pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def info_nce(video: torch.Tensor, audio: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """Symmetric InfoNCE of unit embeddings [B, D]: mean of both directions, pair i against all others of the batch.

    -1/2B sum_i [log softmax_j(v_i a_j / t)_i + log softmax_j(a_i v_j / t)_i]; ln B for embeddings that say nothing.
    Source: van den Oord et al. 2018; the paper's mean of both directions.
    """
    logits = video @ audio.T / temperature
    pairs = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
