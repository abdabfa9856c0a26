"""The audio encoder: a 9-layer 2D CNN over log-mel, for any input length (Wang et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from avprep.shared.errors import UserError
from avtrain.models.encoder import Encoder
from avtrain.models.own import own_encoder


class AudioCNN(nn.Module):
    """Log-mel [B, 1, F, M] -> features [B, widths[-1]]: 7x7 stem, four blocks of two 3x3, global max pool.

    The default is the paper's: stem stride 2, widths 64 | 64, 128, 256, 512, blocks 2 and 3 with stride 2; 4.7 M
    parameters, 2.7 GFLOP (2 a multiply-add) for 1 s of 100 x 128. Weights: `initialise`.
    """

    def __init__(self, stem_stride: int = 2, widths: tuple[int, ...] = (64, 64, 128, 256, 512)) -> None:
        super().__init__()
        stem, *blocks = widths
        strides = (1, 2, 2, 1)
        layers = [_conv(1, stem, 7, stem_stride)]
        previous = stem
        for width, stride in zip(blocks, strides, strict=True):
            layers += [_conv(previous, width, 3, stride), _conv(width, width, 3, 1)]
            previous = width
        self.layers = nn.Sequential(*layers)
        self.num_features = previous
        initialise(self)

    def forward(self, logmel: torch.Tensor) -> torch.Tensor:
        return self.layers(logmel).amax(dim=(2, 3))


def tiny_audio() -> AudioCNN:
    """The CPU-sized audio encoder: the same 9 layers, stem stride 4, widths 16 | 16, 32, 64, 64.

    0.15 M parameters, 0.03 GFLOP for 1 s of 100 x 128.
    """
    return AudioCNN(stem_stride=4, widths=(16, 16, 32, 64, 64))


AUDIO_MODELS: dict[str, Callable[[], AudioCNN]] = {"cnn9": AudioCNN, "tiny": tiny_audio}
"""audio encoders by name"""


def build_audio(name: str, num_mel_bands: int = 128) -> AudioCNN | Encoder:
    """A fresh audio encoder, [B, 1, F, M] -> [B, num_features]: `cnn9`, `tiny`, or the user's own `package:function`.

    The user's own is tried on 0.1 s, 1 s and 3 s of `num_mel_bands`. Errors: UserError.
    """
    if ":" in name:
        return own_encoder(name, [(2, 1, frames, num_mel_bands) for frames in (10, 100, 300)])
    if name not in AUDIO_MODELS:
        raise UserError(
            f"There is no audio model {name!r}; choose one of {', '.join(AUDIO_MODELS)} or package:function."
        )
    return AUDIO_MODELS[name]()


def initialise(module: nn.Module) -> None:
    """Kaiming normal (fan out, gain of ReLU) convolutions, batch norm scale 1 and shift 0, in place."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
