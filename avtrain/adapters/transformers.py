"""An audio encoder for transformers' AutoModel and AutoFeatureExtractor, without code from the hub.

Importing this module registers both; folders that `convert` wrote hold a config and tensors alone:

    from transformers import AutoFeatureExtractor, AutoModel
    import avtrain.adapters.transformers
    model = AutoModel.from_pretrained("folder")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    BatchFeature,
    FeatureExtractionMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.adapters.inputs import log_mels, long_enough
from avtrain.inference import AudioEncoder, load_encoder
from avtrain.inference.description import FORMAT, Description, description_of
from avtrain.inference.loading import fresh, projected
from avtrain.models.audio import AudioCNN

__all__ = ["SoundConfig", "SoundFeatureExtractor", "SoundModel", "convert"]

MODEL_TYPE = "avtrain-sound"


class SoundConfig(PreTrainedConfig):
    """What travels with an encoder: `encoder` has the values of its Description."""

    model_type = MODEL_TYPE

    def __init__(self, encoder: dict[str, Any] | None = None, **further: Any) -> None:
        self.encoder = encoder or {}
        super().__init__(**further)


class SoundFeatureExtractor(FeatureExtractionMixin):
    """Samples -> `input_values` [B, F, M], log-mel in dB as the encoder was trained on."""

    model_input_names: ClassVar[list[str]] = ["input_values"]

    def __init__(self, audio: dict[str, Any] | None = None, sampling_rate: int = 0, **further: Any) -> None:
        self.audio, self.sampling_rate = audio or {}, sampling_rate
        super().__init__(**further)

    def __call__(
        self, raw_speech: Any, sampling_rate: int | None = None, return_tensors: str | None = None, **_: Any
    ) -> BatchFeature:
        """Log-mel float32 of one sound [N], or of several of one length, at `sampling_rate` (default: the encoder's).

        Errors: UserError where they differ in length, or a sample is not finite.
        """
        sounds = [np.asarray(raw_speech)] if np.ndim(raw_speech[0]) == 0 else [np.asarray(one) for one in raw_speech]
        if len({len(one) for one in sounds}) > 1:
            raise UserError("The sounds differ in length, and padding would change their features; give each alone.")
        about = Description(model="", audio=self.audio, logmel_mean=[], logmel_std=[], training={})
        logmels = long_enough(log_mels(about, np.stack(sounds), sampling_rate or self.sampling_rate))
        return BatchFeature({"input_values": logmels.astype(np.float32)}, tensor_type=return_tensors)


class SoundModel(PreTrainedModel):
    """`input_values` [B, F, M] -> `pooler_output` [B, D], and `last_hidden_state` [B, T, D] over time.

    T is F over the encoder's hop. An encoder of the user's own gives no `last_hidden_state`.
    """

    config_class = SoundConfig
    main_input_name = "input_values"
    base_model_prefix = "encoder"

    def __init__(self, config: SoundConfig) -> None:
        super().__init__(config)
        description = description_of({"format": FORMAT, **config.encoder}, Path(config._name_or_path or "config.json"))
        self.encoder = AudioEncoder(*fresh(description))
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: all tensors are in the file."""

    def forward(self, input_values: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        network = self.encoder.network
        if not isinstance(network, AudioCNN):
            return BaseModelOutputWithPooling(pooler_output=self.encoder(input_values))
        maps = network.layers(self.encoder.normalised(input_values))
        pooled = projected(maps.amax(dim=(2, 3)), self.encoder.head)
        return BaseModelOutputWithPooling(last_hidden_state=maps.mean(dim=3).transpose(1, 2), pooler_output=pooled)


def convert(run: Path | str, out: Path | str, weights: str = "auto", *, projection: bool | None = None) -> None:
    """Write the audio encoder of a run, a checkpoint or an export to the new folder `out`, for `from_pretrained`.

    `weights` and `projection` are as in `load_encoder`. Errors: UserError, also where the folder is not empty.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; choose another folder.")
    encoder = load_encoder(run, weights=weights, projection=projection)
    model = SoundModel(SoundConfig(encoder=configs.to_dict(encoder.description))).eval()
    model.encoder.load_state_dict(encoder.state_dict())
    model.save_pretrained(out)
    audio = encoder.description.audio
    SoundFeatureExtractor(audio=audio, sampling_rate=audio["sample_rate_hz"]).save_pretrained(out)


AutoConfig.register(MODEL_TYPE, SoundConfig, exist_ok=True)
AutoModel.register(SoundConfig, SoundModel, exist_ok=True)
AutoFeatureExtractor.register(SoundConfig, SoundFeatureExtractor, exist_ok=True)
