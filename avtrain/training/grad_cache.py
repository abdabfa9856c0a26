"""The gradient of a batch that is too large to encode at once, with all its negatives: GradCache (Gao et al. 2021).

The loss needs the embeddings of all pairs, but its gradient reaches the encoders by way of each embedding alone. So all
pairs are encoded in chunks without keeping what a gradient needs, the loss gives the gradient of the embeddings, and
each chunk is encoded again, this time with its gradient. Memory is that of a chunk, time that of one more forward pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from avtrain.distributed import Ranks, unsynchronised

Embedded = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Embeddings [B, D] of pictures and of sounds, and the temperature where it is learnt."""


def chunks_of(total: int, chunk_size: int, ranks: Ranks) -> list[slice]:
    """This rank's rows of a global batch of `total` in chunks of at most `chunk_size`, as even as can be.

    All ranks have equally many, none of them empty, so that they may meet in each; without a chunk size one.
    """
    own, most = ranks.slice_of(total), -(-total // ranks.world_size)
    count = -(-most // chunk_size) if chunk_size else 1
    parts = np.array_split(np.arange(own.stop - own.start), count)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]


def backward_in_chunks(
    wrapped: nn.Module,
    model: nn.Module,
    embed: Callable[[nn.Module, slice], Embedded],
    loss_of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor],
    chunks: list[slice],
    *,
    batches: int,
    more: bool,
) -> torch.Tensor:
    """The loss of a batch; 1 / `batches` of its gradient is added to that of the weights, as if embedded at once.

    `embed(module, chunk)` encodes the rows of a chunk by `wrapped`, which averages gradients over ranks, or by the
    `model` in it, and must draw alike each time. `loss_of` is the loss of this rank's embeddings and the temperature.
    Ranks average once, at the last chunk, unless `more` batches of the update follow. Batch norm goes by the statistics
    of a chunk, and its running ones follow each chunk once.
    """
    before = [buffer.clone() for buffer in model.buffers()]
    with torch.no_grad():
        first = [embed(model, chunk) for chunk in chunks]
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)
    videos, audios, (*_, learnt) = zip(*first, strict=True)
    video, audio = (torch.cat(parts).requires_grad_() for parts in (videos, audios))
    temperature = None if learnt is None else learnt.clone().requires_grad_()
    loss = loss_of(video, audio, temperature)
    (loss / batches).backward()
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        with unsynchronised(wrapped, more=more or not last):
            video_part, audio_part, learnt = embed(wrapped, chunk)
            outputs, gradients = [video_part, audio_part], [_of(video, chunk), _of(audio, chunk)]
            if last and learnt is not None and temperature is not None:
                outputs.append(learnt)
                gradients.append(_of(temperature))
            torch.autograd.backward(outputs, gradients)
    return loss.detach()


def _of(leaf: torch.Tensor, chunk: slice | None = None) -> torch.Tensor:
    """The gradient of a leaf, of the rows of a chunk; 0 where the loss does not depend on it."""
    gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return gradient if chunk is None else gradient[chunk]
