"""Windows and whole clips of a dataset as arrays, outside of training: for encoding and classification."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avprep.dataset import Dataset
from avprep.schema import FRAMES_DTYPE, LOGMEL_DTYPE
from avtrain.data.reader import Reader
from avtrain.sampling.windows import Windows, WindowSpec

WINDOW_MEL_FRAMES = 100  # 1 s
WHOLE_PICTURES = 160  # of a clip at once through an encoder: 10 s at 16 a second


def read_windows(
    dataset: Dataset, reader: Reader, rows: np.ndarray, starts: np.ndarray, length: int = WINDOW_MEL_FRAMES
) -> np.ndarray:
    """Log-mel float16 [B, length, M] of `rows` from mel frames `starts`; short clips are padded by the reader."""
    out = np.empty((len(rows), length, dataset.num_mel_bands), LOGMEL_DTYPE)
    reader.read_logmel(rows, starts, out)
    return out


def read_pairs(
    dataset: Dataset, reader: Reader, plan: np.ndarray, windows: Windows, spec: WindowSpec
) -> tuple[np.ndarray, np.ndarray]:
    """(frames uint8 [B, T, H, W, 3], log-mel float16 [B, F, M]) of planned pairs, in new arrays."""
    size = dataset.frame_size
    frames = np.empty((len(plan), spec.num_frames, size, size, 3), FRAMES_DTYPE)
    logmel = np.empty((len(plan), spec.num_mel_frames, dataset.num_mel_bands), LOGMEL_DTYPE)
    reader.read_pairs(plan, windows, frames, logmel)
    return frames, logmel


def read_pictures(
    dataset: Dataset, reader: Reader, rows: np.ndarray, starts: np.ndarray, length: int, frame_stride: int = 1
) -> np.ndarray:
    """Pictures uint8 [B, length, H, W, 3] of `rows`, every `frame_stride`-th from `starts`; short clips are padded."""
    size = dataset.frame_size
    out = np.empty((len(rows), length, size, size, 3), FRAMES_DTYPE)
    reader.read_frames(rows, starts, out, frame_stride)
    return out


def picture_pieces(
    num_pictures: np.ndarray, window: int, whole: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(clip, first picture, pictures) int64 [P] each: the pieces of clips [B] whose mean features stand for a clip.

    Where `whole`, a clip of at most WHOLE_PICTURES is one piece. Others are evenly spread windows of `window` pictures,
    as many as cover the clip. No piece is shorter than that.
    """
    pieces = []
    for clip, pictures in enumerate(num_pictures.tolist()):
        if whole and pictures <= WHOLE_PICTURES:
            pieces.append((clip, 0, max(pictures, window)))
        else:
            starts = even_starts(np.array([pictures]), -(-pictures // window), window)[0]
            pieces += [(clip, start, window) for start in starts.tolist()]
    clips, firsts, lengths = np.array(pieces, np.int64).reshape(-1, 3).T
    return clips, firsts, lengths


def even_starts(num_frames: np.ndarray, count: int, length: int = WINDOW_MEL_FRAMES) -> np.ndarray:
    """Starts int64 [B, count] of windows of `length` frames evenly spread over each clip, ends included.

    The middle for count 1.
    """
    room = np.maximum(num_frames.astype(np.int64) - length, 0)
    through = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
    return np.rint(room[:, None] * through[None, :]).astype(np.int64)


def whole_clips(
    dataset: Dataset, reader: Reader, rows: np.ndarray, batch_size: int, shortest: int = WINDOW_MEL_FRAMES
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(positions in `rows` int64 [b], log-mel float16 [b, F, M]): whole clips, batched among those of equal length.

    A batch lasts as long as `batch_size` windows of 1 s, so that memory is bounded. Clips shorter than `shortest` mel
    frames, the windows that were fitted on, are padded to that.
    """
    reader.check_shards(rows)
    lengths = np.maximum(dataset.num_mel_frames[rows], shortest)
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        size = max(1, batch_size * WINDOW_MEL_FRAMES // int(length))
        for first in range(0, len(same), size):
            chosen = same[first : first + size]
            out = np.empty((len(chosen), length, dataset.num_mel_bands), LOGMEL_DTYPE)
            reader.read_logmel(rows[chosen], np.zeros(len(chosen), int), out)
            yield chosen, out
