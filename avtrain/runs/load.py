"""Which checkpoint a path means, and the encoders in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from avprep.shared.errors import UserError
from avtrain.config import SOUNDS_ALONE
from avtrain.models.audio import AudioCNN
from avtrain.models.encoder import Encoder
from avtrain.models.two_tower import TwoTower, audio_encoder, tower_of, video_encoder_of
from avtrain.runs import checkpoint
from avtrain.runs.data_spec import num_mel_bands_of

ADDRESS = re.compile(r"[a-z0-9]+:/[^/]")
"""of a URL that was taken for a path"""
FILES = {"raw": checkpoint.MODEL, "ema": checkpoint.AVERAGE}


def checkpoint_at(path: Path, which: str = "newest", besides: str = "") -> Path:
    """The checkpoint folder that `path` means: itself, or the `newest` or `best` (in validation) of the run `path`.

    `besides` is what else could have been there, for the message. Errors: UserError where there is none.
    """
    if checkpoint.is_checkpoint(path):
        if which != "newest":
            raise UserError(f"{path} is one checkpoint; give its run to have the {which}, or leave --checkpoint out.")
        return path
    newest = checkpoint.latest(path)
    if newest is None and ADDRESS.match(str(path)):
        address = str(path).replace(":/", "://", 1)
        raise UserError(f"{address} is an address, and a run on this machine is needed here; copy it to a folder.")
    if newest is None:
        raise UserError(f"{path} holds no checkpoint{besides}; 'avtrain pretrain' writes one.")
    if which == "newest":
        return newest
    best = checkpoint.read_meta(newest).get("best")
    if best is None:
        raise UserError(f"{path} was not validated, so none of its checkpoints is the best; take the newest.")
    for folder in checkpoint.checkpoints(path):
        if checkpoint.step_of(folder) == best["step"]:
            return folder
    raise UserError(f"The best checkpoint of {path}, of step {best['step']}, is missing; take the newest.")


def checkpoint_of(path: Path, which: str = "newest", besides: str = "") -> tuple[Path, dict[str, Any]]:
    """The folder that `checkpoint_at` returns, and its meta.json. Errors: UserError."""
    folder = checkpoint_at(path, which, besides)
    return folder, checkpoint.read_meta(folder, "config.model_size", "step")


def has_average(meta: Mapping[str, Any]) -> bool:
    """Whether a checkpoint holds a moving average of the weights beside them."""
    return meta.get("config", {}).get("ema", 0) > 0 and checkpoint.AVERAGED not in meta


def weights_of(folder: Path, meta: Mapping[str, Any], weights: str = "auto") -> str:
    """Which weights of a checkpoint a name of config.WEIGHTS means, `raw` or `ema`.

    `auto` is the moving average where there is one: that is what validation measured. Errors: UserError where there is
    none.
    """
    if weights == "auto":
        return "ema" if has_average(meta) else "raw"
    if weights == "ema" and not has_average(meta):
        raise UserError(
            f"{folder} holds no moving average of the weights, which 'avtrain pretrain --ema 0.999' keeps; leave "
            "--weights out."
        )
    return weights


def load_audio_encoder(folder: Path, meta: dict[str, Any], weights: str = "auto") -> AudioCNN | Encoder:
    """The audio encoder of a checkpoint of `checkpoint_of`, in eval mode, with the weights of `weights_of`."""
    config = meta["config"]
    encoder = audio_encoder(config["model_size"], config.get("audio_model", ""), num_mel_bands_of(meta))
    checkpoint.load_model(folder, encoder, prefix="audio.", file=FILES[weights_of(folder, meta, weights)])
    return encoder.eval()


def load_video_encoder(folder: Path, meta: dict[str, Any], frame_size: int, weights: str = "auto") -> nn.Module:
    """The video encoder, as `load_audio_encoder` has that of the sounds, for pictures of `frame_size` px.

    Errors: UserError where the run did not train one.
    """
    check_has_pictures(folder, meta)
    encoder = video_encoder_of(meta["config"], frame_size)
    checkpoint.load_model(folder, encoder, prefix="video.", file=FILES[weights_of(folder, meta, weights)])
    return encoder.eval()


def check_has_pictures(folder: Path, meta: dict[str, Any]) -> None:
    """UserError where a run's loss trains no video encoder."""
    if meta["config"].get("loss") == SOUNDS_ALONE:
        raise UserError(f"{folder} was trained by {SOUNDS_ALONE}, which trains no video encoder; use its sound.")


def load_two_tower(folder: Path, meta: dict[str, Any], frame_size: int, weights: str = "auto") -> TwoTower:
    """Both encoders, as `load_audio_encoder` has one, for pictures of `frame_size` px."""
    if checkpoint.IMPORTED in meta:
        raise UserError(
            f"{folder} was imported without its projection, so it has no embeddings in the common space; "
            "'avtrain pretrain --init-from' trains some."
        )
    model = tower_of(meta["config"], frame_size, num_mel_bands_of(meta))
    checkpoint.load_model(folder, model, file=FILES[weights_of(folder, meta, weights)])
    return model.eval()


def identity_of(folder: Path, meta: dict[str, Any], weights: str = "auto") -> dict[str, Any]:
    """What an evaluation writes down of the checkpoint that it measured: run, step, digest of the weights.

    Of a mean of several checkpoints it is that, and `averaged` has their steps.
    """
    name, file = folder.resolve().parent.name, FILES[weights_of(folder, meta, weights)]
    averaged = {checkpoint.AVERAGED: meta[checkpoint.AVERAGED]} if checkpoint.AVERAGED in meta else {}
    return {"run": name, "step": int(meta["step"]), "model_sha256": checkpoint.digest(folder, file), **averaged}
