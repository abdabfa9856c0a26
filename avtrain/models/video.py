"""Video encoders by name: torchvision's, the released R(2+1)D-18, a small one for CPUs, the user's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from avprep.shared.errors import UserError
from avtrain.models.audio import initialise
from avtrain.models.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder, Renormalise
from avtrain.models.own import own_encoder
from avtrain.models.released import ReleasedVideo

TORCHVISION_NAMES = ("r2plus1d_18", "r3d_18", "mc3_18", "s3d", "swin3d_t", "swin3d_s", "swin3d_b")
CLASSIFIERS = ("fc", "classifier", "head")
"""the last layer of torchvision's video models, by what it is called there"""
POOLS = ("auto", "average", "max")
NUM_FRAMES = 8  # of the paper's windows
FEWEST = {"s3d": 5}  # pictures; the others take any number


def build_video(
    name: str, pool: str = "auto", *, frame_size: int = 112, num_frames: int = NUM_FRAMES, published: bool = False
) -> nn.Module:
    """A fresh video encoder, pictures [B, 3, T, H, W] -> features [B, num_features].

    | name | features | M parameters | GFLOP for 8 pictures of 112 px |
    |---|---|---|---|
    | r2plus1d_18 | 512 | 31.3 | 40.5 |
    | r2plus1d_18_released | 512 | 15.4 | 20.0 |
    | r3d_18 | 512 | 33.2 | 40.7 |
    | mc3_18 | 512 | 11.5 | 43.3 |
    | s3d | 1024 | 7.9 | 4.5 |
    | swin3d_t, _s, _b | 768, 768, 1024 | 27.9, 49.5, 87.6 | 10.3, 19.3, 33.5 |
    | tiny | 64 | 0.04 | 0.09 |

    A multiply-add is 2 FLOP. No weights are downloaded; they begin as torchvision has them: ResNets as `initialise`,
    s3d by torch's default, swin's linear layers normal with deviation 0.02; the released one and tiny as `initialise`.
    `pool` over time and space: `average` or `max`; `auto` is average, for r2plus1d_18_released the max it was published
    with. torchvision's mvit models fix 16 pictures and are not among them. `package:function` is the user's own and
    pools by itself; it is tried on `num_frames` pictures of `frame_size` px. With `published`, pictures are normalised
    as for the weights that torchvision has of the model; they are not loaded here. Errors: UserError.
    """
    if published and name not in TORCHVISION_NAMES:
        raise UserError(
            f"--video-weights are for torchvision's models, not for {name}; choose --video-model among "
            f"{', '.join(TORCHVISION_NAMES)}. A package:function loads weights by itself."
        )
    if pool not in POOLS:
        raise UserError(f"There is no pool {pool!r}; choose one of {', '.join(POOLS)}.")
    if ":" in name:
        if pool != "auto":
            raise UserError(f"{name} pools by itself; leave the pool at auto, not {pool}.")
        return own_encoder(name, [(2, 3, num_frames, frame_size, frame_size)])
    if name not in VIDEO_NAMES:
        raise UserError(
            f"There is no video model {name!r}; choose one of {', '.join(VIDEO_NAMES)} or package:function."
        )
    if num_frames < FEWEST.get(name, 1):
        raise UserError(f"{name} takes {FEWEST[name]} pictures or more; use more --window-frames or another model.")
    if name in OWN_MODELS:
        usual, build = OWN_MODELS[name]
        return build(usual if pool == "auto" else pool)
    pool = "average" if pool == "auto" else pool
    from torchvision.models import get_model, get_model_weights

    encoder = _pooled(get_model(name, weights=None), pool)
    if published:
        transforms = get_model_weights(name).DEFAULT.transforms()
        if (tuple(transforms.mean), tuple(transforms.std)) != (IMAGENET_MEAN, IMAGENET_STD):
            encoder.network = nn.Sequential(Renormalise(transforms.mean, transforms.std), encoder.network)
    return encoder


def _pooled(network: nn.Module, pool: str) -> Encoder:
    """A torchvision video network that ends at a global pool: its classifier, whatever its name, taken off."""
    last = next(name for name in CLASSIFIERS if hasattr(network, name))
    classifier = next(layer for layer in getattr(network, last).modules() if isinstance(layer, nn.Linear | nn.Conv3d))
    setattr(network, last, nn.Identity())
    network.avgpool = nn.AdaptiveMaxPool3d(1) if pool == "max" else nn.AdaptiveAvgPool3d(1)
    return Encoder(network, classifier.weight.shape[1])


class TinyVideo(nn.Module):
    """Pictures [B, 3, T, H, W] -> features [B, 64]: three (2+1)D layers, global pool; for 32 to 64 px on a CPU.

    Each layer is a spatial convolution over all pictures, then one over time; 0.04 M parameters, 0.02 GFLOP for 8
    pictures of 48 px. Weights: `initialise`.
    """

    num_features = 64

    def __init__(self, pool: str = "average") -> None:
        super().__init__()
        self.pool = pool
        self.layers = nn.ModuleList(
            [_Layer(3, 16, kernel=7, stride=4), _Layer(16, 32, kernel=3, stride=2), _Layer(32, 64, kernel=3, stride=2)]
        )
        initialise(self)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        batch, _, length, _, _ = video.shape
        pictures = video.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            pictures = layer(pictures, length)
        if self.pool == "max":
            return pictures.amax(dim=(2, 3)).view(batch, length, -1).amax(dim=1)
        return pictures.mean(dim=(2, 3)).view(batch, length, -1).mean(dim=1)


class _Layer(nn.Module):
    """Pictures [B * T, C, H, W] -> [B * T, width, H / stride, W / stride], mixed over T."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(inputs, width, kernel, stride, padding=kernel // 2, bias=False)
        self.space_norm = nn.BatchNorm2d(width)
        self.time = nn.Conv2d(width, width, (3, 1), padding=(1, 0), bias=False)
        self.time_norm = nn.BatchNorm2d(width)

    def forward(self, pictures: torch.Tensor, length: int) -> torch.Tensor:
        # channels last throughout: the two reshapes below are then views, and CPUs convolve 1.5x faster
        spatial = torch.relu_(self.space_norm(self.space(pictures)))
        count, width, height, breadth = spatial.shape
        by_time = spatial.permute(0, 2, 3, 1).reshape(-1, length, height * breadth, width).permute(0, 3, 1, 2)
        mixed = torch.relu_(self.time_norm(self.time(by_time)))
        return mixed.permute(0, 2, 3, 1).reshape(count, height, breadth, width).permute(0, 3, 1, 2)


OWN_MODELS: dict[str, tuple[str, Callable[[str], nn.Module]]] = {
    "r2plus1d_18_released": ("max", ReleasedVideo),
    "tiny": ("average", TinyVideo),
}
"""video encoders that are not torchvision's: by name, the pool of `auto` and the builder"""
VIDEO_NAMES = (*TORCHVISION_NAMES, *OWN_MODELS)
