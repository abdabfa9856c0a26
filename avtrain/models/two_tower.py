"""Both encoders, each with its layers into the common space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from avtrain.config import HEAD_SETTINGS, MODEL_SIZES
from avtrain.models.audio import AudioCNN, build_audio
from avtrain.models.encoder import Encoder
from avtrain.models.temperature import Temperature
from avtrain.models.video import NUM_FRAMES, build_video


class TwoTower(nn.Module):
    """(video [B, 3, T, H, W], audio [B, 1, F, M]) -> (video, audio) embeddings [B, embedding_dim] of length 1.

    `video_head` and `audio_head` are those of `projection_head`. The length is made 1 in float32 where a layer gave
    float16 or bfloat16. `temperature` is that of the loss, where it is learnt.
    """

    def __init__(
        self,
        video: nn.Module,
        audio: nn.Module,
        embedding_dim: int = 128,
        *,
        projection: str = "linear",
        projection_hidden: int = 0,
    ) -> None:
        super().__init__()
        self.video, self.audio, self.embedding_dim = video, audio, embedding_dim
        self.video_head, self.audio_head = (
            projection_head(projection, encoder.num_features, projection_hidden, embedding_dim)  # type: ignore[arg-type]
            for encoder in (video, audio)
        )
        self.temperature: Temperature | None = None
        self.frozen = ""

    def freeze(self, side: str) -> None:
        """Keep the encoder of a side, `video` or `audio`, as it is: in eval mode for ever, without gradients."""
        self.frozen = side
        self.get_submodule(side).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> TwoTower:
        """As any module, but a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.get_submodule(self.frozen).eval()
        return self

    def forward(self, video: torch.Tensor, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.embed_video(video), self.embed_audio(audio)

    def embed_video(self, video: torch.Tensor) -> torch.Tensor:
        """Unit vectors [B, embedding_dim] of pictures, or of the features [B, D] that the encoder gives of them."""
        return _unit(self.video_head(video if video.dim() == 2 else self.video(video)))

    def embed_audio(self, audio: torch.Tensor) -> torch.Tensor:
        """As `embed_video`, of log-mel."""
        return _unit(self.audio_head(audio if audio.dim() == 2 else self.audio(audio)))


def projection_head(name: str, num_features: int, hidden: int, embedding_dim: int) -> nn.Module:
    """Features [B, num_features] -> [B, embedding_dim] by fresh layers of a name of config.PROJECTIONS.

    `linear` is one layer. `mlp` is two with a ReLU between them and `hidden` units there, 0: num_features (Chen et al.
    2020). They begin as torch has them: weights and biases uniform in +-1 / sqrt(inputs).
    """
    if name == "linear":
        return nn.Linear(num_features, embedding_dim)
    width = hidden or num_features
    return nn.Sequential(nn.Linear(num_features, width), nn.ReLU(), nn.Linear(width, embedding_dim))


class WithTemperature(nn.Module):
    """(video, audio) -> the embeddings of `model`, and its temperature where that is learnt, else None.

    What averages gradients over ranks sees by this that the temperature has a part in the loss.
    """

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, video: torch.Tensor, audio: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        video_embeddings, audio_embeddings = self.model(video, audio)
        return video_embeddings, audio_embeddings, None if self.model.temperature is None else self.model.temperature()


def audio_model_of(model_size: str, audio_model: str = "") -> str:
    """The name of the audio encoder that these settings choose: `audio_model`, or without it that of the size."""
    return audio_model or MODEL_SIZES[model_size][1]


def video_model_of(settings: Mapping[str, Any]) -> str:
    """The name of the video encoder that a run's settings choose."""
    return str(settings.get("video_model", "") or MODEL_SIZES[settings["model_size"]][0])


def video_encoder_of(settings: Mapping[str, Any], frame_size: int) -> nn.Module:
    """A fresh video encoder as a run of these settings has it, for stored pictures of `frame_size` px."""
    return build_video(
        video_model_of(settings),
        settings.get("video_pool", "auto"),
        frame_size=settings.get("crop_size") or frame_size,
        num_frames=settings.get("window_frames") or NUM_FRAMES,
        published=bool(settings.get("video_weights", "")),
    )


def audio_encoder(model_size: str, audio_model: str = "", num_mel_bands: int = 128) -> AudioCNN | Encoder:
    """A fresh audio encoder, by the settings of `audio_model_of`; see `build_audio`."""
    return build_audio(audio_model_of(model_size, audio_model), num_mel_bands)


def build_two_tower(
    model_size: str,
    *,
    video_model: str = "",
    video_pool: str = "auto",
    audio_model: str = "",
    published: bool = False,
    frame_size: int = 112,
    num_frames: int = NUM_FRAMES,
    num_mel_bands: int = 128,
    projection: str = "linear",
    projection_hidden: int = 0,
    embedding_dim: int = 128,
) -> TwoTower:
    """A fresh pair of encoders: `full` is the paper's, `tiny` is for CPUs and 32 to 64 px frames.

    `video_model` (see `build_video`) takes the place of the size's own video encoder, r2plus1d_18 or tiny, and
    `audio_model` (see `build_audio`) of its audio encoder, cnn9 or tiny. Layers into the common space: see
    `projection_head`; `published` is that of `build_video`. Errors: UserError.
    """
    name = video_model or MODEL_SIZES[model_size][0]
    video = build_video(name, video_pool, frame_size=frame_size, num_frames=num_frames, published=published)
    audio = audio_encoder(model_size, audio_model, num_mel_bands)
    return TwoTower(video, audio, embedding_dim, projection=projection, projection_hidden=projection_hidden)


def tower_of(settings: Mapping[str, Any], frame_size: int, num_mel_bands: int = 128) -> TwoTower:
    """A fresh pair of encoders as a run of these settings has it, with its learnt temperature and its frozen encoder.

    Settings are those of PretrainConfig; runs of earlier versions have fewer. `frame_size` is that of stored pictures.
    Errors: UserError.
    """
    model = build_two_tower(
        settings["model_size"],
        video_model=settings.get("video_model", ""),
        video_pool=settings.get("video_pool", "auto"),
        audio_model=settings.get("audio_model", ""),
        published=bool(settings.get("video_weights", "")),
        frame_size=settings.get("crop_size") or frame_size,
        num_frames=settings.get("window_frames") or NUM_FRAMES,
        num_mel_bands=num_mel_bands,
        **{name: settings[name] for name in HEAD_SETTINGS if name in settings},
    )
    if settings.get("learn_temperature", False):
        model.temperature = Temperature(settings["temperature"])
    if settings.get("freeze", "none") != "none":
        model.freeze(settings["freeze"])
    return model


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """`rows` [B, D] made of length 1, half precision as float32."""
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)
