"""Which other sound of the batch is mixed into each."""

from __future__ import annotations

import numpy as np

from avtrain.sampling.base import Stream, generator


def background_items(batch_size: int, *, seed: int, epoch: int, step: int) -> np.ndarray:
    """int64 [batch]: for each item of a global batch the position of another one, each as likely."""
    draw = generator(seed, epoch, Stream.BACKGROUNDS, step)
    return (np.arange(batch_size) + draw.integers(1, batch_size, batch_size)) % batch_size
