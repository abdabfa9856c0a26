"""Whose features are measured: the encoder of the sounds, that of the pictures, or both, of a run or untrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.config import MODEL_SIZES, EvaluateConfig
from avtrain.models.two_tower import audio_encoder, video_model_of
from avtrain.models.video import build_video
from avtrain.runs.data_spec import check_pictures, check_sounds
from avtrain.runs.load import load_audio_encoder, load_video_encoder

OF = {"audio": "", "video": " of pictures", "both": " of sounds and pictures"}
"""what a score is of, in words; nothing for sounds"""


class BothEncoders(nn.Module):
    """(log-mel [B, 1, F, M], pictures [B, 3, T, H, W]) -> features [B, D]: those of sounds, then those of pictures."""

    def __init__(self, audio: nn.Module, video: nn.Module) -> None:
        super().__init__()
        self.audio, self.video = audio, video

    def forward(self, media: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        logmel, pictures = media
        return torch.cat([self.audio(logmel), self.video(pictures)], dim=1)


def encoder_of(dataset: Dataset, config: EvaluateConfig, folder: Path | None, meta: dict[str, Any]) -> nn.Module:
    """The encoder to measure, of the checkpoint in `folder` with its meta.json, or a fresh one without.

    It takes what features.Source gives of `config.side`. Errors: UserError.
    """
    if config.side == "audio":
        return _audio(dataset, config, folder, meta)
    video = _video(dataset, config, folder, meta)
    return video if config.side == "video" else BothEncoders(_audio(dataset, config, folder, meta), video)


def check_side(dataset: Dataset, config: EvaluateConfig, folder: Path | None, meta: dict[str, Any]) -> None:
    """UserError where a dataset has no pictures, or other media than the checkpoint in `folder` was trained on."""
    if config.side == "video" and config.norm != EvaluateConfig.norm:
        raise UserError("--norm is of log-mel; pictures are always normalised alike. Leave --norm out.")
    if folder is not None and config.side != "video":
        check_sounds(folder, meta, dataset)
    if config.side == "audio":
        return
    blind = np.flatnonzero(dataset.num_frames == 0)
    if len(blind):
        raise UserError(
            f"{dataset.folder} has {len(blind)} clips without picture, such as {dataset.clip_ids[blind[0]]}; "
            f"--side {config.side} needs pictures of all."
        )
    if folder is not None:
        check_pictures(folder, meta, dataset)


def takes_any_length(meta: dict[str, Any]) -> bool:
    """Whether the video encoder takes any number of pictures at once; the user's own is known to take a window."""
    return not meta or ":" not in video_model_of(meta["config"])


def _audio(dataset: Dataset, config: EvaluateConfig, folder: Path | None, meta: dict[str, Any]) -> nn.Module:
    if folder is None:
        return audio_encoder(config.model_size, config.audio_model, dataset.num_mel_bands)
    return load_audio_encoder(folder, meta, config.weights)


def _video(dataset: Dataset, config: EvaluateConfig, folder: Path | None, meta: dict[str, Any]) -> nn.Module:
    if folder is None:
        return build_video(MODEL_SIZES[config.model_size][0], frame_size=dataset.frame_size)
    return load_video_encoder(folder, meta, dataset.frame_size, config.weights)
