"""An audio encoder by the interface of X-ARES: features over time [B, T, D] of samples [B, N].

X-ARES imports a Python file of the user's with one name that ends in Encoder and calls it without arguments:

    from avtrain.adapters import xares
    SoftEncoder = xares.factory("runs/soft")

No name here but that of the class may end so. The interface: https://github.com/jimbozhang/xares.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from avtrain import inference
from avtrain.adapters.inputs import (
    MILLISECONDS_A_FRAME,
    hop_mel_frames,
    log_mels,
    long_enough,
    one_rate_hz,
    weights_sha256,
)

__all__ = ["FrameEncoder", "factory", "load"]


class FrameEncoder(nn.Module):
    """Samples [B, N] at `sampling_rate` -> features [B, T, output_dim], one every `hop_size_in_ms`.

    X-ARES pads the shorter sounds of a batch with zeros and does not hand over their lengths: the features of that
    silence are part of T.
    """

    def __init__(self, encoder: inference.AudioEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampling_rate = one_rate_hz(encoder.description)
        self.hop_size_in_ms = hop_mel_frames(encoder) * MILLISECONDS_A_FRAME
        self.output_dim = int(encoder.network.num_features)  # type: ignore[arg-type]

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        logmels = log_mels(self.encoder.description, audio.detach().cpu().numpy(), self.sampling_rate)
        features = self.encoder.encode_frames(long_enough(logmels))
        return torch.from_numpy(features[:, : -(-logmels.shape[1] // self.encoder.hop_mel_frames)]).to(audio.device)


def load(run: Path | str, device: str = "cpu", weights: str = "auto") -> FrameEncoder:
    """The audio encoder of a run, a checkpoint or an export, in eval mode.

    Its class has a name of its own, since X-ARES stores and finds what it computed by that. Errors: UserError.
    """
    encoder = inference.load_encoder(run, device, weights)
    training = encoder.description.training
    stem = re.sub(r"\W+", "_", f"{training['run']}_step{training['step']}_{weights_sha256([encoder])[:12]}")
    own: type[FrameEncoder] = type(f"{stem}_Encoder", (FrameEncoder,), {})
    return own(encoder).eval()


def factory(run: Path | str, device: str = "cpu", weights: str = "auto") -> Callable[[], FrameEncoder]:
    """What X-ARES calls to have the encoder: `load` with these arguments."""
    return lambda: load(run, device, weights)
