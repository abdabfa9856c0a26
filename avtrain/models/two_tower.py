"""Both encoders with one linear layer each into the common space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from avtrain.models.audio import AudioCNN, tiny_audio
from avtrain.models.video import R2Plus1D18, TinyVideo


class TwoTower(nn.Module):
    """(video [B, 3, T, H, W], audio [B, 1, F, M]) -> (video, audio) embeddings [B, embedding_dim] of length 1."""

    def __init__(self, video: nn.Module, audio: nn.Module, embedding_dim: int = 128) -> None:
        super().__init__()
        self.video, self.audio = video, audio
        self.video_head = nn.Linear(video.num_features, embedding_dim)  # type: ignore[arg-type]
        self.audio_head = nn.Linear(audio.num_features, embedding_dim)  # type: ignore[arg-type]

    def forward(self, video: torch.Tensor, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.embed_video(video), self.embed_audio(audio)

    def embed_video(self, video: torch.Tensor) -> torch.Tensor:
        """Unit vectors [B, embedding_dim] of pictures."""
        return F.normalize(self.video_head(self.video(video)), dim=1)

    def embed_audio(self, audio: torch.Tensor) -> torch.Tensor:
        """Unit vectors [B, embedding_dim] of log-mel."""
        return F.normalize(self.audio_head(self.audio(audio)), dim=1)


def audio_encoder(model_size: str) -> AudioCNN:
    """A fresh audio encoder of a size, `full` or `tiny`."""
    return AudioCNN() if model_size == "full" else tiny_audio()


def two_tower(model_size: str) -> TwoTower:
    """A fresh pair of encoders: `full` is the paper's, `tiny` is for CPUs and 32 to 64 px frames."""
    return TwoTower(R2Plus1D18() if model_size == "full" else TinyVideo(), audio_encoder(model_size))
