"""A stand-in for an encoder that learns nothing: what a linear layer makes of plain statistics of the log-mel."""

from __future__ import annotations

import torch
from torch import nn


class LogMelStatistics(nn.Module):
    """Log-mel [B, 1, F, M] -> [B, 2 K]: mean and deviation over the F frames of K bands, each of M / K mel bands.

    K is a divisor of M.
    """

    def __init__(self, bands: int = 128) -> None:
        super().__init__()
        self.bands, self.num_features = bands, 2 * bands

    def forward(self, logmel: torch.Tensor) -> torch.Tensor:
        bands = logmel[:, 0].unflatten(2, (self.bands, -1)).mean(dim=3)
        return torch.cat([bands.mean(dim=1), bands.std(dim=1, unbiased=False)], dim=1)


def log_mel_statistics() -> LogMelStatistics:
    """The statistics of 128 bands, for `--audio-model avtrain.reproduce.av_digits.statistics:log_mel_statistics`."""
    return LogMelStatistics()


def log_mel_statistics_32() -> LogMelStatistics:
    """The statistics of 32 bands of 4 mel bands each: 64 features, as many as the tiny encoder has."""
    return LogMelStatistics(32)
