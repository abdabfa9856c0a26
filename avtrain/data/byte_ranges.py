"""Windows of clips to byte ranges of shards. Arithmetic on index columns; nothing is opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avprep.dataset import Dataset
from avprep.schema import LOGMEL_DTYPE, TRAINING_RATE_STEP_HZ
from avprep.shared.errors import UserError
from avtrain.data.jpeg_sizes import FrameSizes
from avtrain.sampling.windows import WindowSpec


@dataclass(frozen=True)
class Ranges:
    """Byte ranges int64 [B] each: shard number, offset in it, bytes there (fewer than a window in short clips)."""

    shard: np.ndarray
    offset: np.ndarray
    length: np.ndarray

    def take(self, items: np.ndarray) -> Ranges:
        """Some of the ranges."""
        return Ranges(self.shard[items], self.offset[items], self.length[items])

    @staticmethod
    def joined(parts: list[Ranges]) -> Ranges:
        """The ranges of all parts, one part after the other."""
        return Ranges(*(np.concatenate([getattr(part, name) for part in parts]) for name in Ranges.__match_args__))


def window_of(dataset: Dataset) -> WindowSpec:
    """The paper's windows at the dataset's frame rate: 0.5 s of picture in the middle of 1 s of sound.

    Errors: UserError where a quarter of a second is no whole number of frames.
    """
    rate = dataset.frame_rate_hz
    if rate % TRAINING_RATE_STEP_HZ:
        raise UserError(
            f"{dataset.folder} has {rate} frames a second; training windows need a multiple of {TRAINING_RATE_STEP_HZ}."
        )
    return WindowSpec(num_frames=rate // 2, frame_rate_hz=rate)


def raw_bytes_before(dataset: Dataset, frames: np.ndarray) -> np.ndarray:
    """Bytes int64 [B] of raw pictures before each of `frames`."""
    return frames.astype(np.int64) * dataset.frame_size**2 * 3


def video_ranges(
    dataset: Dataset, rows: np.ndarray, starts: np.ndarray, num_frames: int, sizes: FrameSizes | None = None
) -> Ranges:
    """Ranges of up to `num_frames` pictures from `starts` in each of `rows`; JPEGs need their sizes, loaded."""
    ends = np.maximum(starts, np.minimum(starts + num_frames, dataset.num_frames[rows]))
    begin, end = (
        raw_bytes_before(dataset, frames) if sizes is None else sizes.before(rows, frames) for frames in (starts, ends)
    )
    return Ranges(dataset.shard[rows], dataset.frames_offset[rows] + begin, end - begin)


def audio_ranges(dataset: Dataset, rows: np.ndarray, starts: np.ndarray, num_mel_frames: int) -> Ranges:
    """Ranges of up to `num_mel_frames` log-mel frames from `starts` in each of `rows`."""
    frame_bytes = dataset.num_mel_bands * LOGMEL_DTYPE.itemsize
    count = np.clip(dataset.num_mel_frames[rows] - starts, 0, num_mel_frames)
    return Ranges(dataset.shard[rows], dataset.logmel_offset[rows] + starts * frame_bytes, count * frame_bytes)
