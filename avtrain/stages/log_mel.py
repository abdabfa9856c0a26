"""Descriptions of sounds by their log-mel alone, which need no encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from avprep.dataset import Dataset
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted

BANDS = 32
"""of a segment, each the mean of neighbouring mel bands"""
SOUNDING_DB = 20.0
"""a frame sounds if its loudest band is at most this far below the loudest of the clip"""


def log_mel_features(
    dataset: Dataset, rows: np.ndarray, segments: int = 0, stopping: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """float32 [rows, D], dB: `segments_of` each clip's sound, with 0 `segments` its `statistics`.

    Errors: Interrupted once `stopping()`.
    """
    parts = []
    with Progress(len(rows), "clips", "log-mel") as progress:
        for row in rows.tolist():
            if stopping():
                raise Interrupted("nothing was written; the same command starts again")
            logmel = dataset.read_logmel(row).astype(np.float32)
            parts.append(segments_of(logmel, segments) if segments else statistics_of(logmel))
            progress.advance(1)
    return np.stack(parts)


def statistics_of(logmel: np.ndarray) -> np.ndarray:
    """[3 M]: mean, deviation and maximum over time of each mel band of a log-mel [F, M]."""
    return np.concatenate([logmel.mean(axis=0), logmel.std(axis=0), logmel.max(axis=0)])


def segments_of(logmel: np.ndarray, segments: int) -> np.ndarray:
    """[segments * B]: means of B = min(BANDS, M) bands over equal parts of the stretch of a log-mel [F, M] that sounds.

    That stretch is from the first frame whose loudest band is within SOUNDING_DB of the clip's loudest to the last.
    Parts of fewer frames than one share a frame.
    """
    loudest = logmel.max(axis=1)
    sounding = np.flatnonzero(loudest >= loudest.max() - SOUNDING_DB)
    stretch = logmel[sounding[0] : sounding[-1] + 1]
    parts = np.array_split(stretch, min(BANDS, stretch.shape[1]), axis=1)
    bands = np.stack([part.mean(axis=1) for part in parts], axis=1)
    edges = np.linspace(0, len(bands), segments + 1)
    begins = np.floor(edges[:-1]).astype(int)
    ends = np.maximum(np.ceil(edges[1:]).astype(int), begins + 1)
    return np.concatenate([bands[begin:end].mean(axis=0) for begin, end in zip(begins, ends, strict=True)])
