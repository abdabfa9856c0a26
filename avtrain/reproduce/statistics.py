"""A stand-in for an encoder that learns nothing: what a linear layer makes of plain statistics of the log-mel."""

from __future__ import annotations

import torch
from torch import nn


class LogMelStatistics(nn.Module):
    """Log-mel [B, 1, F, M] -> [B, 2 M]: mean and deviation of each of M bands over the F frames."""

    def __init__(self, num_mel_bands: int = 128) -> None:
        super().__init__()
        self.num_features = 2 * num_mel_bands

    def forward(self, logmel: torch.Tensor) -> torch.Tensor:
        bands = logmel[:, 0]
        return torch.cat([bands.mean(dim=1), bands.std(dim=1, unbiased=False)], dim=1)


def log_mel_statistics() -> LogMelStatistics:
    """The statistics of 128 bands, for `--audio-model avtrain.reproduce.statistics:log_mel_statistics`."""
    return LogMelStatistics()
