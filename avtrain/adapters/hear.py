"""An audio encoder by the common API of HEAR 2021: `load_model`, `get_scene_embeddings`, `get_timestamp_embeddings`.

`hear-validator` and `heareval` are given the name of this module, and a run or an export as the model file. The API:
https://hearbenchmark.com/hear-api.html.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from avtrain.adapters.inputs import MILLISECONDS_A_FRAME, hop_mel_frames, log_mels, long_enough, one_rate_hz
from avtrain.inference.encoder import AudioEncoder, load_encoder

__all__ = ["HearModel", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

SAMPLE_RATES_HZ = (16_000, 22_050, 44_100, 48_000)
LONGEST_INTERVAL_MS = 50.0  # that HEAR suggests between timestamps


class HearModel(nn.Module):
    """An encoder with the attributes that HEAR asks for: rate of the sound, widths of both embeddings."""

    def __init__(self, encoder: AudioEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.sample_rate = one_rate_hz(encoder.description, SAMPLE_RATES_HZ)
        self.scene_embedding_size = encoder.num_features
        self.timestamp_embedding_size = int(encoder.network.num_features)  # type: ignore[arg-type]

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Embeddings of whole sounds, as `get_scene_embeddings`."""
        return get_scene_embeddings(audio, self)


def load_model(model_file_path: str, weights: str = "auto") -> HearModel:
    """The model of a run, a checkpoint or an export of an audio encoder, in eval mode.

    `weights` are as in `load_encoder`. Errors: UserError where the path is none of these.
    """
    return HearModel(load_encoder(model_file_path, weights=weights)).eval()


def get_scene_embeddings(audio: torch.Tensor, model: HearModel) -> torch.Tensor:
    """Embeddings float32 [B, scene_embedding_size] of whole sounds [B, N] at the model's rate."""
    logmels = log_mels(model.encoder.description, audio.detach().cpu().numpy(), model.sample_rate)
    return torch.from_numpy(model.encoder.encode(long_enough(logmels))).to(audio.device)


def get_timestamp_embeddings(audio: torch.Tensor, model: HearModel) -> tuple[torch.Tensor, torch.Tensor]:
    """(embeddings float32 [B, T, timestamp_embedding_size], their times in ms [B, T]) of sounds [B, N].

    Embedding k is centred at its time, with all of the encoder's context around it; they are 50 ms apart or less, from
    0 ms to the end of the sound.
    """
    logmels = log_mels(model.encoder.description, audio.detach().cpu().numpy(), model.sample_rate)
    features, step = dense_frames(model.encoder, long_enough(logmels))
    features = features[:, : -(-logmels.shape[1] // step)]
    times = torch.arange(features.shape[1], dtype=torch.float32) * (step * MILLISECONDS_A_FRAME)
    return torch.from_numpy(features).to(audio.device), times.expand(len(features), -1).to(audio.device)


def dense_frames(encoder: AudioEncoder, logmels: np.ndarray) -> tuple[np.ndarray, int]:
    """(features over time [B, T, D], log-mel frames from one to the next) of log-mel [B, F, M], 50 ms apart or less.

    The encoder's own map has one feature every `hop_mel_frames`. Those between come from the same sound moved: enough
    frames before it of the level that is 0 after normalisation, as the encoder pads its input itself. Every hop-th
    feature is that of `encode_frames`.
    """
    hop, bands = hop_mel_frames(encoder), logmels.shape[2]
    step = max(n for n in range(1, hop + 1) if hop % n == 0 and n * MILLISECONDS_A_FRAME <= LONGEST_INTERVAL_MS)
    length = -(-logmels.shape[1] // step)
    mean = np.asarray(encoder.description.logmel_mean, np.float32)
    out: np.ndarray | None = None
    for number, shift in enumerate(range(0, hop, step)):
        before = np.broadcast_to(mean, (len(logmels), hop - shift, bands)) if shift else logmels[:, :0]
        moved = np.concatenate([before, logmels.astype(np.float32)], axis=1)
        features = encoder.encode_frames(moved)[:, 1 if shift else 0 :]
        if out is None:
            out = np.empty((len(logmels), length, features.shape[2]), np.float32)
        out[:, number :: hop // step] = features
    assert out is not None
    return out, step
