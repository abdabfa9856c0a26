"""Beginning a run with torchvision's published weights of a video model: `avtrain pretrain --video-weights`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from avprep.shared import store
from avprep.shared.errors import UserError, first_line
from avtrain.models.two_tower import TwoTower
from avtrain.models.video import CLASSIFIERS
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder

WRAPPED = ("state_dict", "model")  # what training scripts save the weights under


def load_video_weights(weights: str, name: str, model: TwoTower, run: Path) -> dict[str, str]:
    """Load `weights` of torchvision's video model `name` into `model.video`; returns what the run records of them.

    They are a name of torchvision's, which is downloaded once, or a file of such weights; the classifier is left out.
    Nothing is loaded where `weights` is empty or the run has a checkpoint of its own. Errors: UserError.
    """
    if not weights:
        return {}
    if checkpoint.latest(run) is not None:
        return run_folder.begun_from(run)
    file = Path(weights) if is_file_name(weights) else _downloaded(weights, name)
    network = model.video.network
    assert isinstance(network, nn.Module)
    if isinstance(network, nn.Sequential):  # Renormalise comes first
        network = network[1]
    given = {
        key: tensor for key, tensor in _read(file).items() if not key.startswith(tuple(f"{c}." for c in CLASSIFIERS))
    }
    wrong = checkpoint.misfit(given, network.state_dict())
    if wrong:
        raise UserError(f"{file} does not hold weights of torchvision's {name}: {wrong}.")
    network.load_state_dict(given)
    return {"video_weights_digest": store.sha256(file)}


def is_file_name(weights: str) -> bool:
    """Whether --video-weights means a file, not a name of torchvision's."""
    return "/" in weights or "." in weights


def _downloaded(weights: str, name: str) -> Path:
    """The file of torchvision's weights of that name, in torch's cache; downloaded unless it is there."""
    from torchvision.models import get_model_weights

    known = get_model_weights(name)
    if weights not in known.__members__:
        raise UserError(
            f"torchvision has no weights {weights!r} of {name}; choose one of {', '.join(known.__members__)} or a file."
        )
    url = known[weights].url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.exists():
        try:
            torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{weights} of {name} cannot be downloaded ({first_line(error)}); download {url} on another machine "
                f"and give the file as --video-weights, or put it at {file}."
            ) from None
    return file


def _read(file: Path) -> Mapping[str, torch.Tensor]:
    """The tensors in a file of torch's or a .safetensors file, by name."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file} does not exist; give a file of weights or a name such as KINETICS400_V1.") from None
    except Exception:  # what bytes that are no such file make of the reader cannot be foreseen
        raise UserError(f"{file} is no whole file of tensors; anything else in it is never executed.") from None
    for key in WRAPPED:
        if isinstance(saved, dict) and isinstance(saved.get(key), dict):
            saved = saved[key]
    if not (isinstance(saved, dict) and all(isinstance(tensor, torch.Tensor) for tensor in saved.values())):
        raise UserError(f"{file} holds other things than weights; save the state_dict of the model alone.")
    return saved
