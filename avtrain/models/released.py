"""The video encoder of the authors' released code, and which of its names is which of ours, for both encoders.

Names and order of layers are those of the authors' public repository; the weights of a released checkpoint give here
the features that they give there.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from avtrain.models.audio import initialise

WIDTHS = (64, 128, 256, 512)
BLOCK_NAMES = {
    "spt_conv1": "space1",
    "spt_bn1": "space1_norm",
    "tmp_conv1": "time1",
    "tmp_bn1": "time1_norm",
    "spt_conv2": "space2",
    "spt_bn2": "space2_norm",
    "tmp_conv2": "time2",
    "out_bn": "norm",
    "res_conv": "shortcut",
}


class ReleasedVideo(nn.Module):
    """Pictures [B, 3, T, H, W] -> features [B, 512]: a stem of one full 3x7x7, four pairs of blocks, a global pool.

    15.4 M parameters; the pool, `max` or `average`, is over T / 8, H / 16, W / 16. Weights: `initialise`. torchvision's
    R(2+1)D-18 differs: it factorises the stem, widens between the two convolutions of a layer, and normalises the short
    cut by itself.
    """

    num_features = WIDTHS[-1]

    def __init__(self, pool: str = "max") -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, WIDTHS[0], (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
            nn.BatchNorm3d(WIDTHS[0]),
            nn.ReLU(inplace=True),
        )
        inputs = (WIDTHS[0], *WIDTHS)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(_Block(inputs[number], width, 1 if number == 0 else 2), _Block(width, width, 1))
                for number, width in enumerate(WIDTHS)
            )
        )
        self.pool = nn.AdaptiveMaxPool3d(1) if pool == "max" else nn.AdaptiveAvgPool3d(1)
        initialise(self)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return self.pool(self.stages(self.stem(video))).flatten(1)


class _Block(nn.Module):
    """[B, inputs, T, H, W] -> [B, width, T / stride, H / stride, W / stride]: twice 1x3x3, then 3x1x1.

    Batch norm and ReLU follow each convolution; the last ones follow the sum with the short cut, which is the input,
    through a 1x1x1 where shapes differ.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.space1, self.space1_norm = _space(inputs, width, stride), nn.BatchNorm3d(width)
        self.time1, self.time1_norm = _time(width, stride), nn.BatchNorm3d(width)
        self.space2, self.space2_norm = _space(width, width, 1), nn.BatchNorm3d(width)
        self.time2, self.norm = _time(width, 1), nn.BatchNorm3d(width)
        same = inputs == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv3d(inputs, width, 1, stride, bias=False)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.space1_norm(self.space1(video)))
        inner = torch.relu(self.time1_norm(self.time1(inner)))
        inner = torch.relu(self.space2_norm(self.space2(inner)))
        return torch.relu(self.norm(self.time2(inner) + self.shortcut(video)))


def _space(inputs: int, width: int, stride: int) -> nn.Conv3d:
    return nn.Conv3d(inputs, width, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)


def _time(width: int, stride: int) -> nn.Conv3d:
    return nn.Conv3d(width, width, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)


def our_name(theirs: str) -> str | None:
    """The name in a TwoTower of r2plus1d_18_released and cnn9 for a name in a released checkpoint; None: there is none.

    >>> our_name("video_model.conv3x.1.spt_bn2.bias")
    'video.stages.1.1.space2_norm.bias'
    >>> our_name("audio_model.block4.conv1.weight")
    'audio.layers.7.0.weight'
    """
    if match := re.fullmatch(r"video_model\.conv1\.(\w+\.\w+)", theirs):
        return f"video.stem.{match[1]}"
    if match := re.fullmatch(r"video_model\.conv([2-5])x\.(\d)\.(\w+)\.(\w+)", theirs):
        name = BLOCK_NAMES.get(match[3])
        return f"video.stages.{int(match[1]) - 2}.{match[2]}.{name}.{match[4]}" if name else None
    if match := re.fullmatch(r"audio_model\.conv1\.(\w+\.\w+)", theirs):
        return f"audio.layers.0.{match[1]}"
    if match := re.fullmatch(r"audio_model\.block([1-4])\.(conv|bn)([12])\.(\w+)", theirs):
        layer = 2 * (int(match[1]) - 1) + int(match[3])
        return f"audio.layers.{layer}.{('conv', 'bn').index(match[2])}.{match[4]}"
    return None
