"""An audio encoder on its own: normalisation inside, and what its input must be and came from beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avprep.shared.errors import UserError
from avtrain.data.augment import logmel_statistics, normalised_logmel
from avtrain.inference.description import Description
from avtrain.inference.loading import loaded, num_outputs, projected
from avtrain.models.audio import AudioCNN
from avtrain.models.encoder import place

WHOLE_FRAMES = 6000  # of log-mel at once: a minute, 0.6 GB in the full-size encoder


class AudioEncoder(nn.Module):
    """Log-mel in dB as stored, [B, F, M] of any float type -> features float32 [B, num_features], of any length F.

    Normalisation is inside; the features are the encoder's own, or, with `head`, its unit vectors in the common space.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, description: Description, head: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.description, self.head = network, description, head
        mean, std = logmel_statistics(description.logmel_mean, description.logmel_std)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @property
    def num_features(self) -> int:
        """Width of the features."""
        return num_outputs(self.network, self.head)

    @property
    def hop_mel_frames(self) -> int:
        """Log-mel frames from one of `encode_frames` to the next. Errors: UserError of the user's own encoder."""
        return _grid(self._network())[0]

    def normalised(self, logmel: torch.Tensor) -> torch.Tensor:
        """[B, F, M] -> the network's input float32 [B, 1, F, M]."""
        return normalised_logmel(logmel, self.mean, self.std)

    def forward(self, logmel: torch.Tensor) -> torch.Tensor:
        return projected(self.network(self.normalised(logmel)), self.head)

    @torch.no_grad()
    def encode(self, logmel: np.ndarray) -> np.ndarray:
        """Features float32 [B, num_features] of log-mel [B, F, M]; bounded memory however long F is.

        Beyond a minute, ours are computed part by part: each part is lengthened by what its outputs look back and
        ahead, so that the features are those of the whole (to rounding). Errors: UserError where the user's own encoder
        is asked for more than that at once.
        """
        if logmel.shape[1] <= WHOLE_FRAMES:
            return self(self._moved(logmel)).cpu().numpy()
        if not isinstance(self.network, AudioCNN):
            raise UserError(
                f"{self.description.model} would have to take {logmel.shape[1] / 100:.0f} s at once; "
                "embed such sounds by windows (--window-seconds)."
            )
        best: torch.Tensor | None = None
        for part in self._maps(self.network, logmel):
            loudest = part.amax(dim=(2, 3))
            best = loudest if best is None else torch.maximum(best, loudest)
        assert best is not None
        return projected(best, self.head).cpu().numpy()

    @torch.no_grad()
    def encode_frames(self, logmel: np.ndarray) -> np.ndarray:
        """Features over time float32 [B, T, D] of log-mel [B, F, M]: the last map of the network, mean over frequency.

        T is F / hop_mel_frames, rounded up; frame k is centred at log-mel frame k * hop_mel_frames. D is the width of
        the network's own features. Bounded memory. Errors: UserError of the user's own encoder, which has no such map.
        """
        parts = [part.mean(dim=3).transpose(1, 2) for part in self._maps(self._network(), logmel)]
        return torch.cat(parts, dim=1).cpu().numpy()

    def _maps(self, network: AudioCNN, logmel: np.ndarray) -> Iterator[torch.Tensor]:
        """The last map [B, D, t, m] of the network, part after part in time."""
        jump, reach = _grid(network)
        outputs, step = -(-logmel.shape[1] // jump), max(WHOLE_FRAMES // jump, 1)
        for first in range(0, outputs, step):
            last = min(first + step, outputs)
            before = min(first, -(-reach // jump))
            part = logmel[:, (first - before) * jump : (last - 1) * jump + reach + 1]
            yield network.layers(self.normalised(self._moved(part)))[:, :, before : before + last - first]

    def _network(self) -> AudioCNN:
        if not isinstance(self.network, AudioCNN):
            raise UserError(f"{self.description.model} gives one vector a sound; leave --frame-level out.")
        return self.network

    def _moved(self, logmel: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(logmel)).to(self.mean.device)


def load_encoder(
    folder: Path | str, device: str = "cpu", weights: str = "auto", *, projection: bool | None = None
) -> AudioEncoder:
    """The audio encoder, in eval mode, of a run (its newest checkpoint), a checkpoint, or what avtrain export wrote.

    `folder` may be hf://ORG/NAME[@REVISION], a published export (extra `hub`). `weights` of a checkpoint: `raw`, `ema`
    (their moving average) or `auto` (the average where there is one). With `projection`, it ends with its layers into
    the common space; None: as an export was written, else without. Errors: UserError where the folder is none of these,
    does not record how its log-mel was made, is an export of another kind or altered, or has no such weights.
    """
    return place(loaded(AudioEncoder, folder, "audio", weights, projection), device)


def _grid(network: AudioCNN) -> tuple[int, int]:
    """(input frames from one output to the next, input frames that an output sees before and after its own)."""
    jump, reach = 1, 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            reach += layer.kernel_size[0] // 2 * jump
            jump *= layer.stride[0]
    return jump, reach
