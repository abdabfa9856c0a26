"""From a run, a checkpoint or an export to an encoder of sounds or of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from avprep.shared import store
from avprep.shared.errors import UserError
from avprep.shared.values import speaking_of
from avtrain.inference.contents import check_file, digests_of
from avtrain.inference.description import DESCRIPTION, Description, description_of_checkpoint, read_description
from avtrain.inference.fetched import encoder_folder
from avtrain.models.audio import build_audio
from avtrain.models.two_tower import TwoTower, tower_of, video_encoder_of
from avtrain.runs.load import (
    check_has_pictures,
    checkpoint_of,
    load_audio_encoder,
    load_two_tower,
    load_video_encoder,
    weights_of,
)

Loaded = TypeVar("Loaded", bound=nn.Module, covariant=True)


class Kind(Protocol[Loaded]):
    """A class of encoders: AudioEncoder or VideoEncoder."""

    def __call__(self, network: nn.Module, description: Description, head: nn.Module | None) -> Loaded: ...


def projected(features: torch.Tensor, head: nn.Module | None) -> torch.Tensor:
    """Features [B, D], or what the layers into the common space make of them, of length 1."""
    return features if head is None else F.normalize(head(features), dim=1)


def num_outputs(network: nn.Module, head: nn.Module | None) -> int:
    """Width of what an encoder gives."""
    if head is None:
        return int(network.num_features)  # type: ignore[arg-type]
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1].out_features


def loaded(kind: Kind[Loaded], source: Path | str, side: str, weights: str, projection: bool | None) -> Loaded:
    """The encoder of a run, a checkpoint or an export, in eval mode, with or without its projection.

    `source` is a folder, or an export at hf://ORG/NAME[@REVISION].
    `weights` as in load.weights_of; `projection` None: as an export was written, else without. Errors: UserError.
    """
    folder = encoder_folder(source)
    description = read_description(folder)
    if description is not None:
        _check_export(folder, description, side, projection)
        if weights != "auto":
            raise UserError(f"{folder} is an exported encoder, which has one set of weights; leave --weights out.")
        with speaking_of(folder / DESCRIPTION):
            encoder = kind(*fresh(description))
        path = folder / description.file("safetensors")
        digests = digests_of(store.read_json(folder / DESCRIPTION), folder / DESCRIPTION)
        if path.name in digests:
            check_file(path, digests[path.name], path)
        try:
            encoder.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            line = str(error).strip().rpartition("\n")[2].strip()
            raise UserError(f"{path} does not fit {DESCRIPTION} ({line}); export the encoder again.") from None
        return encoder.eval()
    checkpoint, meta = checkpoint_of(folder, besides=" and no exported encoder")
    weights = weights_of(checkpoint, meta, weights)
    description = description_of_checkpoint(checkpoint, meta, side, weights, bool(projection))
    return kind(*_trained(checkpoint, meta, description, weights)).eval()


def _check_export(folder: Path, description: Description, side: str, projection: bool | None) -> None:
    if description.side != side:
        raise UserError(f"{folder} is an exported {description.side} encoder; give --side {description.side}.")
    if projection is not None and projection != description.projection:
        has = "with" if description.projection else "without"
        raise UserError(f"{folder} was exported {has} its projection; export the run again to have the other.")


def fresh(description: Description) -> tuple[nn.Module, Description, nn.Module | None]:
    """What a Kind is made of, with weights that are yet to be loaded: network, description, projection or None."""
    config, bands = description.training["config"], len(description.logmel_mean)
    size = int(description.video.get("frame_size", 112))
    if description.projection:
        return _side_of(tower_of(config, size, bands), description)
    if description.side == "audio":
        return build_audio(description.model, bands), description, None
    return video_encoder_of(config, size), description, None


def _trained(
    checkpoint: Path, meta: dict[str, Any], description: Description, weights: str
) -> tuple[nn.Module, Description, nn.Module | None]:
    size = int(description.video.get("frame_size", 112))
    if description.projection:
        if description.side == "video":
            check_has_pictures(checkpoint, meta)
        return _side_of(load_two_tower(checkpoint, meta, size, weights), description)
    if description.side == "audio":
        return load_audio_encoder(checkpoint, meta, weights), description, None
    return load_video_encoder(checkpoint, meta, size, weights), description, None


def _side_of(model: TwoTower, description: Description) -> tuple[nn.Module, Description, nn.Module]:
    if description.side == "audio":
        return model.audio, description, model.audio_head
    return model.video, description, model.video_head
