"""Training in float64, so that what is compared does not hang on the CPU: each adds up in an order of its own.

Rounding grows: a weight whose gradient is nearly 0 goes up or down a whole learning rate under Adam, as rounding will.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

import avtrain.training.setup
from avtrain.models.two_tower import TwoTower, tower_of


@contextmanager
def in_double(frozen: bool = False) -> Iterator[None]:
    """Within it `pretrain` trains float64 models; `frozen`: their batch norm is in eval mode."""

    def doubled(*arguments: Any) -> TwoTower:
        torch.set_default_dtype(torch.float64)  # torch draws float32 weights differently where there is no AVX2
        try:
            model = tower_of(*arguments)
        finally:
            torch.set_default_dtype(torch.float32)
        for part in (model.video, model.audio, model.video_head, model.audio_head):  # heads: of features that are kept
            part.register_forward_pre_hook(lambda _, media: (media[0].double(),))
        if frozen:
            model.train = lambda mode=True: torch.nn.Module.train(model, False)  # type: ignore[method-assign]
        return model

    with patch.object(avtrain.training.setup, "tower_of", doubled):
        yield
