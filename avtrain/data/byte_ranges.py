"""Windows of clips to byte ranges of shards. Arithmetic on index columns; nothing is opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avprep.dataset import Dataset
from avprep.schema import LOGMEL_DTYPE
from avtrain.data.jpeg_sizes import FrameSizes


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


def raw_bytes_before(dataset: Dataset, frames: np.ndarray) -> np.ndarray:
    """Bytes int64 [B] of raw pictures before each of `frames`."""
    return frames.astype(np.int64) * dataset.frame_size**2 * 3


def video_ranges(
    dataset: Dataset,
    rows: np.ndarray,
    starts: np.ndarray,
    num_frames: int,
    sizes: FrameSizes | None = None,
    frame_stride: int = 1,
) -> Ranges:
    """Ranges of up to `num_frames` pictures, every `frame_stride`-th from `starts` on, in each of `rows`.

    JPEGs need their sizes, loaded, and come as one range a row, with those between: they are small, and a range more
    costs more. Raw pictures that lie apart are a range each, [B * num_frames], row after row. What is past the end of a
    clip is not in the ranges, some of which may be empty.
    """
    if sizes is not None:
        num_frames = (num_frames - 1) * frame_stride + 1
    elif frame_stride > 1:
        starts = (starts[:, None] + frame_stride * np.arange(num_frames)).ravel()
        rows, num_frames = np.repeat(rows, num_frames), 1
    lengths = dataset.num_frames[rows]
    starts = np.minimum(starts, lengths)
    ends = np.minimum(starts + num_frames, lengths)
    begin, end = (
        raw_bytes_before(dataset, frames) if sizes is None else sizes.before(rows, frames) for frames in (starts, ends)
    )
    return Ranges(dataset.shard[rows], dataset.frames_offset[rows] + begin, end - begin)


def pictures_there(
    dataset: Dataset, rows: np.ndarray, starts: np.ndarray, num_frames: int, frame_stride: int = 1
) -> np.ndarray:
    """How many of the pictures that `video_ranges` is asked for the clips have, int64 [B]."""
    left = dataset.num_frames[rows].astype(np.int64) - starts
    return np.clip(-(-left // frame_stride), 0, num_frames)


def audio_ranges(dataset: Dataset, rows: np.ndarray, starts: np.ndarray, num_mel_frames: int) -> Ranges:
    """Ranges of up to `num_mel_frames` log-mel frames from `starts` in each of `rows`."""
    frame_bytes = dataset.num_mel_bands * LOGMEL_DTYPE.itemsize
    count = np.clip(dataset.num_mel_frames[rows] - starts, 0, num_mel_frames)
    return Ranges(dataset.shard[rows], dataset.logmel_offset[rows] + starts * frame_bytes, count * frame_bytes)
