"""Which checkpoint a path means, and the encoders in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avprep.shared.errors import UserError
from avtrain.models import Encoder
from avtrain.models.audio import AudioCNN
from avtrain.models.two_tower import TwoTower, audio_encoder, tower_of
from avtrain.runs import checkpoint
from avtrain.runs.data_spec import num_mel_bands_of


def checkpoint_of(run: Path, which: str = "newest") -> tuple[Path, dict[str, Any]]:
    """A run's newest or best checkpoint and its meta. Errors: UserError where there is none."""
    folder = checkpoint.chosen(run, which)
    return folder, checkpoint.read_meta(folder, "config.model_size", "step")


def checkpoint_at(place: Path) -> Path:
    """`place` itself where it is a checkpoint folder, else the newest of the run folder `place`. Errors: UserError."""
    if (place / checkpoint.META).exists():
        return place
    found = checkpoint.latest(place)
    if found is None:
        raise UserError(f"{place} is neither a checkpoint nor a run that holds one; 'avtrain pretrain' writes them.")
    return found


def load_audio_encoder(folder: Path, meta: dict[str, Any]) -> AudioCNN | Encoder:
    """The audio encoder of a checkpoint of `checkpoint_of`, in eval mode."""
    config = meta["config"]
    encoder = audio_encoder(config["model_size"], config.get("audio_model", ""), num_mel_bands_of(meta))
    checkpoint.load_model(folder, encoder, prefix="audio.")
    return encoder.eval()


def load_two_tower(folder: Path, meta: dict[str, Any], frame_size: int) -> TwoTower:
    """Both encoders of a checkpoint of `checkpoint_of`, in eval mode, for pictures of `frame_size` px."""
    if checkpoint.IMPORTED in meta:
        raise UserError(
            f"{folder} was imported without projection heads, so it has no embeddings to retrieve by; "
            "'avtrain pretrain --init-from' trains some."
        )
    model = tower_of(meta["config"], frame_size, num_mel_bands_of(meta))
    checkpoint.load_model(folder, model)
    return model.eval()


def identity_of(folder: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """What an evaluation writes down of the checkpoint that it measured: run, step, digest of the weights."""
    name = folder.resolve().parent.name
    return {"run": name, "step": int(meta["step"]), "model_sha256": checkpoint.digest(folder)}
