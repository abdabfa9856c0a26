"""Checkpoints of the authors' released code as runs of ours. Read as tensors alone: no pickled code is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.models.released import our_name
from avtrain.models.two_tower import TwoTower, tower_of
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.data_spec import DATA

MODELS = {"model_size": "full", "video_model": "r2plus1d_18_released", "video_pool": "auto", "audio_model": "cnn9"}
LOGMEL = {
    "sample_rate_hz": 16_000,
    "num_mel_bands": 128,
    "window_samples": 512,
    "hop_samples": 160,
    "amplitude_floor": 1e-10,
    "top_db": 80.0,
    "decibels": "power",
    "resample": False,
    "downmix": "mean",
}
"""what they were trained on: the preset released-code of avprep build-shards"""
PARALLEL = "module."  # before every name, where DataParallel wrapped the model


def import_checkpoint(file: Path, run: Path) -> Path:
    """Make the folder `run` of a released checkpoint: one checkpoint of step 0 without optimiser; its folder.

    Errors: UserError where the file is no such checkpoint, names what does not fit, or `run` holds something else.
    """
    with torch.device("meta"):  # shapes alone: all weights come from the file
        model = tower_of(MODELS, frame_size=112)
    encoders = encoders_of(file, model)
    imported = {
        checkpoint.IMPORTED: {"file": file.name, "sha256": store.sha256(file)},
        DATA: {"audio": LOGMEL},
    }
    run_folder.open_run(run, {"config": MODELS, **imported})
    return checkpoint.save(run, 0, encoders, None, {"config": MODELS, **imported})


def encoders_of(file: Path, model: TwoTower) -> nn.ModuleDict:
    """The two encoders of `model`, as `video` and `audio`, with a released checkpoint's weights. Errors: UserError."""
    weights: dict[str, torch.Tensor] = {}
    for theirs, tensor in _state_of(file).items():
        plain = str(theirs).removeprefix(PARALLEL)
        ours = our_name(plain)
        if ours is None or not isinstance(tensor, torch.Tensor):
            raise UserError(f"{file} holds {plain!r}, which is no weight of the released models.")
        weights[ours] = tensor
    encoders = nn.ModuleDict({"video": model.video, "audio": model.audio})
    wrong = checkpoint.misfit(weights, encoders.state_dict())
    if wrong:
        raise UserError(f"{file} does not fit the released models: {wrong}.")
    encoders.load_state_dict(weights, assign=True)
    return encoders


def _state_of(file: Path) -> Mapping[str, object]:
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file} does not exist.") from None
    except Exception:  # what bytes that are no pickle make of the reader cannot be foreseen
        raise UserError(
            f"{file} is no whole torch file of tensors and plain values; anything else in it is never executed."
        ) from None
    state = saved.get("state_dict") if isinstance(saved, dict) else None
    if not isinstance(state, Mapping):
        raise UserError(f"{file} has no 'state_dict', as the released code's checkpoints have.")
    return state
