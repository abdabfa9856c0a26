"""An audio encoder that stands on its own: normalisation inside, and what its input must be and came from beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avprep.shared.values import finite, speaking_of, texts, whole_number
from avtrain.data.augment import logmel_statistics, normalised_logmel
from avtrain.models.audio import AudioCNN, build_audio
from avtrain.models.encoder import place
from avtrain.models.two_tower import audio_model_of
from avtrain.runs import checkpoint
from avtrain.runs.data_spec import DATA
from avtrain.runs.load import checkpoint_of, load_audio_encoder, weights_of

FORMAT = "avtrain-encoder/1"
DESCRIPTION, WEIGHTS, GRAPH = "encoder.json", "audio_encoder.safetensors", "audio_encoder.onnx"

WHOLE_FRAMES = 6000  # of log-mel at once: a minute, 0.6 GB in the full-size encoder


@dataclass(frozen=True, kw_only=True)
class Description:
    """What travels with an audio encoder."""

    model: str
    """`cnn9`, `tiny` or the user's own `package:function`"""
    audio: dict[str, Any]
    """how its log-mel is made: the values of avprep's AudioSpec"""
    logmel_mean: list[float]
    """of each mel band over the clips it was trained on, dB"""
    logmel_std: list[float]
    """deviation of each mel band there, dB; taken as at least 1"""
    training: dict[str, Any]
    """name of the run, step, weights (`raw`, `ema`), config, and the dataset: name, digest, train_clips, class_names"""


class AudioEncoder(nn.Module):
    """Log-mel in dB as stored, [B, F, M] of any float type -> features float32 [B, num_features], of any length F.

    Normalisation is inside; the features are the encoder's own, before the layer into the common space.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, description: Description) -> None:
        super().__init__()
        self.network, self.description = network, description
        mean, std = logmel_statistics(description.logmel_mean, description.logmel_std)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @property
    def num_features(self) -> int:
        """Width of the features."""
        return int(self.network.num_features)  # type: ignore[arg-type]

    def normalised(self, logmel: torch.Tensor) -> torch.Tensor:
        """[B, F, M] -> the network's input float32 [B, 1, F, M]."""
        return normalised_logmel(logmel, self.mean, self.std)

    def forward(self, logmel: torch.Tensor) -> torch.Tensor:
        return self.network(self.normalised(logmel))

    @torch.no_grad()
    def encode(self, logmel: np.ndarray) -> np.ndarray:
        """Features float32 [B, num_features] of log-mel [B, F, M]; bounded memory however long F is.

        Beyond a minute, ours are computed part by part: each part is lengthened by what its outputs look back and
        ahead, so that the features are those of the whole (to rounding). Errors: UserError where the user's own encoder
        is asked for more than that at once.
        """
        if logmel.shape[1] <= WHOLE_FRAMES:
            return self(self._moved(logmel)).cpu().numpy()
        if not isinstance(self.network, AudioCNN):
            raise UserError(
                f"{self.description.model} would have to take {logmel.shape[1] / 100:.0f} s at once; "
                "embed such sounds by windows (--window-seconds)."
            )
        jump, reach = _grid(self.network)
        outputs, step = -(-logmel.shape[1] // jump), WHOLE_FRAMES // jump
        best: torch.Tensor | None = None
        for first in range(0, outputs, step):
            last = min(first + step, outputs)
            before = min(first, -(-reach // jump))
            part = logmel[:, (first - before) * jump : (last - 1) * jump + reach + 1]
            seen = self.network.layers(self.normalised(self._moved(part)))[:, :, before : before + last - first]
            loudest = seen.amax(dim=(2, 3))
            best = loudest if best is None else torch.maximum(best, loudest)
        assert best is not None
        return best.cpu().numpy()

    def _moved(self, logmel: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(logmel)).to(self.mean.device)


def load_encoder(folder: Path | str, device: str = "cpu", weights: str = "auto") -> AudioEncoder:
    """The audio encoder, in eval mode, of a run (its newest checkpoint), a checkpoint, or what avtrain export wrote.

    `weights` of a checkpoint: `raw`, `ema` (their moving average) or `auto` (the average where there is one). Errors:
    UserError where the folder is none of these, does not record how its log-mel was made, or has no such weights.
    """
    folder = Path(folder)
    exported = (folder / DESCRIPTION).exists()
    if exported and weights != "auto":
        raise UserError(f"{folder} is an exported encoder, which has one set of weights; leave --weights out.")
    encoder = _exported(folder) if exported else _of_checkpoint(folder, weights)
    return place(encoder.eval(), device)


def description_of(values: Mapping[str, Any], source: Path) -> Description:
    """The description in an exported encoder.json. Errors: UserError where it is of another format."""
    kind = values.get("format") if isinstance(values, Mapping) else None
    if kind != FORMAT:
        raise UserError(f"{source} is an encoder of format {kind!r}; this version reads {FORMAT}.")
    try:
        found = Description(**{name: values[name] for name in Description.__dataclass_fields__})
    except KeyError as error:
        raise UserError(f"{source} has no {error}; export the encoder again.") from None
    with speaking_of(source):
        texts([found.model], "model")
        bands = whole_number(found.audio["num_mel_bands"], "num_mel_bands", checkpoint.MOST_MEL_BANDS)
        finite(found.logmel_mean, "logmel_mean", bands)
        finite(found.logmel_std, "logmel_std", bands)
        dict(found.training)
    return found


def _exported(folder: Path) -> AudioEncoder:
    description = description_of(store.read_json(folder / DESCRIPTION), folder / DESCRIPTION)
    encoder = AudioEncoder(build_audio(description.model, len(description.logmel_mean)), description)
    try:
        encoder.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        line = str(error).strip().rpartition("\n")[2].strip()
        raise UserError(f"{folder / WEIGHTS} does not fit {DESCRIPTION} ({line}); export the encoder again.") from None
    return encoder


def _of_checkpoint(folder: Path, weights: str) -> AudioEncoder:
    found, meta = checkpoint_of(folder, besides=" and no exported encoder")
    weights = weights_of(found, meta, weights)
    data = meta.get(DATA, {})
    if "logmel_mean" not in data:
        raise UserError(
            f"{found} does not record how its log-mel was made (it is an import, or of an earlier version); pretrain "
            "further from it, and the new run records it."
        )
    config = meta["config"]
    with speaking_of(found / checkpoint.META):
        description = Description(
            model=audio_model_of(config["model_size"], config.get("audio_model", "")),
            audio=data["audio"],
            logmel_mean=data["logmel_mean"],
            logmel_std=data["logmel_std"],
            training={
                "run": found.resolve().parent.name,
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
        )
    return AudioEncoder(load_audio_encoder(found, meta, weights), description)


def _grid(network: AudioCNN) -> tuple[int, int]:
    """(input frames from one output to the next, input frames that an output sees before and after its own)."""
    jump, reach = 1, 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            reach += layer.kernel_size[0] // 2 * jump
            jump *= layer.stride[0]
    return jump, reach
