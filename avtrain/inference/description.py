"""What travels with an encoder: its model, how its input is made, the training that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avprep.shared.values import finite, speaking_of, texts, whole_number
from avtrain.inference.contents import check_seal
from avtrain.models.two_tower import audio_model_of, video_model_of
from avtrain.runs import checkpoint
from avtrain.runs.data_spec import DATA

FORMAT = "avtrain-encoder/1"
DESCRIPTION = "encoder.json"
NEWER = ("side", "projection", "video")
"""fields that earlier exports do not have: they are of sounds, without projection"""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What travels with an encoder of sounds or of pictures."""

    model: str
    """its name (models/audio.py, models/video.py) or the user's own `package:function`"""
    audio: dict[str, Any]
    """how log-mel is made: the values of avprep's AudioSpec"""
    logmel_mean: list[float]
    """of each mel band over the clips it was trained on, dB"""
    logmel_std: list[float]
    """deviation of each mel band there, dB; taken as at least 1"""
    training: dict[str, Any]
    """name of the run, step, weights (`raw`, `ema`), config, and the dataset: name, digest, train_clips, class_names"""
    side: str = "audio"
    """`audio` or `video`"""
    projection: bool = False
    """whether it ends with its layers into the common space, and unit length"""
    video: dict[str, Any] = field(default_factory=dict)
    """how pictures are made: the values of avprep's VideoSpec"""

    def file(self, kind: str) -> str:
        """The name of an exported file, such as `audio_encoder.onnx`."""
        return f"{self.side}_encoder.{kind}"


def description_of(values: Mapping[str, Any], source: object) -> Description:
    """The description in an exported encoder.json. Errors: UserError where it is of another format."""
    kind = values.get("format") if isinstance(values, Mapping) else None
    if kind != FORMAT:
        raise UserError(f"{source} is an encoder of format {kind!r}; this version reads {FORMAT}.")
    names = [one.name for one in fields(Description) if one.name in values or one.name not in NEWER]
    try:
        description = Description(**{name: values[name] for name in names})
    except KeyError as error:
        raise UserError(f"{source} has no {error}; export the encoder again.") from None
    with speaking_of(source):
        texts([description.model], "model")
        bands = whole_number(description.audio["num_mel_bands"], "num_mel_bands", checkpoint.MOST_MEL_BANDS)
        finite(description.logmel_mean, "logmel_mean", bands)
        finite(description.logmel_std, "logmel_std", bands)
        dict(description.training)
        if description.side not in ("audio", "video"):
            raise ValueError(f"side is {description.side!r}, not audio or video")
        if description.side == "video":
            whole_number(description.video["frame_size"], "frame_size", checkpoint.MOST_PIXELS)
    return description


def read_description(folder: Path) -> Description | None:
    """The description in an exported folder, None where it is none. Errors: UserError."""
    path = folder / DESCRIPTION
    if not path.exists():
        return None
    values = store.read_json(path)
    description = description_of(values, path)
    check_seal(values, path)
    return description


def description_of_checkpoint(
    folder: Path, meta: Mapping[str, Any], side: str, weights: str, projection: bool
) -> Description:
    """The description of an encoder of the checkpoint in `folder` with this meta.json. Errors: UserError."""
    data = meta.get(DATA, {})
    if "logmel_mean" not in data:
        raise UserError(
            f"{folder} does not record how its log-mel was made (it is an import, or of an earlier version); pretrain "
            "further from it, and the new run records it."
        )
    config = meta["config"]
    with speaking_of(folder / checkpoint.META):
        audio_model = audio_model_of(config["model_size"], config.get("audio_model", ""))
        return Description(
            model=audio_model if side == "audio" else video_model_of(config),
            audio=data["audio"],
            logmel_mean=data["logmel_mean"],
            logmel_std=data["logmel_std"],
            training={
                "run": folder.resolve().parent.name,
                "step": meta["step"],
                "weights": weights,
                "config": config,
                "config_digest": configs.digest(config),
                "dataset": {
                    "name": data["name"],
                    "digest": meta["dataset_digest"],
                    "train_clips": data["train_clips"],
                    "class_names": data["class_names"],
                },
            },
            side=side,
            projection=projection,
            video=data.get("video", {}),
        )
