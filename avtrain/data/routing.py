"""Plan rows and windows to byte ranges of shards. Arithmetic on index columns; nothing is opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avprep.dataset import Dataset
from avprep.schema import LOGMEL_DTYPE
from avprep.shared.errors import UserError
from avtrain.sampling.windows import Windows, WindowSpec


@dataclass(frozen=True)
class Ranges:
    """Byte ranges int64 [B] each: shard number, offset in it, bytes there (fewer than a window in short clips)."""

    shard: np.ndarray
    offset: np.ndarray
    length: np.ndarray


def window_of(dataset: Dataset) -> WindowSpec:
    """The paper's windows at the dataset's frame rate: 0.5 s of picture in the middle of 1 s of sound.

    Errors: UserError where a quarter of a second is no whole number of frames.
    """
    rate = dataset.frame_rate_hz
    if rate % 4:
        raise UserError(f"{dataset.folder} has {rate} frames a second; training windows need a multiple of 4.")
    return WindowSpec(num_frames=rate // 2, frame_rate_hz=rate)


def video_ranges(dataset: Dataset, rows: np.ndarray, starts: np.ndarray, spec: WindowSpec) -> Ranges:
    """Ranges of `spec.num_frames` pictures from `starts` in each of `rows`."""
    frame_bytes = dataset.frame_size**2 * 3
    count = np.clip(dataset.num_frames[rows] - starts, 0, spec.num_frames)
    return Ranges(dataset.shard[rows], dataset.frames_offset[rows] + starts * frame_bytes, count * frame_bytes)


def audio_ranges(dataset: Dataset, rows: np.ndarray, starts: np.ndarray, num_mel_frames: int) -> Ranges:
    """Ranges of `num_mel_frames` log-mel frames from `starts` in each of `rows`."""
    frame_bytes = dataset.num_mel_bands * LOGMEL_DTYPE.itemsize
    count = np.clip(dataset.num_mel_frames[rows] - starts, 0, num_mel_frames)
    return Ranges(dataset.shard[rows], dataset.logmel_offset[rows] + starts * frame_bytes, count * frame_bytes)


def batch_ranges(dataset: Dataset, plan: np.ndarray, windows: Windows, spec: WindowSpec) -> tuple[Ranges, Ranges]:
    """(video, audio) ranges of a planned batch."""
    return (
        video_ranges(dataset, plan[:, 1], windows.frame, spec),
        audio_ranges(dataset, plan[:, 0], windows.mel_frame, spec.num_mel_frames),
    )
