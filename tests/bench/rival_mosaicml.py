"""mosaicml-streaming, twice: its shuffled stream of whole clips, and half seconds of clips by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from avprep.dataset import Dataset
from tests.bench.rival import ENDLESS, FRAMES, MEL_FRAMES, PROCESSES, Batches, cut, stacked

ROWS = 20  # half seconds of a clip


def streaming_prepare(dataset: Dataset, folder: Path) -> None:
    """MDS shards of 256 MB, arrays of fixed shape, no compression, no hashes."""
    from streaming import MDSWriter

    columns = {"frames": "ndarray:uint8:160,112,112,3", "logmel": "ndarray:float16:1001,128"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=1 << 28) as out:
        for row in range(len(dataset)):
            clip = dataset.read_clip(row)
            out.write({"frames": clip.frames, "logmel": clip.logmel})


def streaming_batches(_dataset: Dataset, folder: Path, batch_size: int) -> Batches:
    """StreamingDataset on a local folder, its default shuffle, a long epoch; torch's DataLoader with processes."""
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()

    class Windows(StreamingDataset):
        def __getitem__(self, index: Any) -> Any:
            clip = super().__getitem__(index)
            return cut(clip["frames"], clip["logmel"], np.random.default_rng())

    clips = Windows(local=str(folder), shuffle=True, batch_size=batch_size, epoch_size=ENDLESS)
    yield from torch.utils.data.DataLoader(clips, batch_size=batch_size, collate_fn=stacked, **PROCESSES)


def rows_prepare(dataset: Dataset, folder: Path) -> None:
    """As above, but a row is half a second: 8 pictures and 50 log-mel frames."""
    from streaming import MDSWriter

    columns = {"frames": "ndarray:uint8:8,112,112,3", "logmel": "ndarray:float16:50,128"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=1 << 28) as out:
        for row in range(len(dataset)):
            clip = dataset.read_clip(row)
            for part in range(ROWS):
                frames, logmel = clip.frames[8 * part :][:8], clip.logmel[50 * part :][:50]
                out.write({"frames": frames, "logmel": logmel})


def rows_batches(dataset: Dataset, folder: Path, batch_size: int) -> Batches:
    """LocalDataset: the three rows that a window lies in, by number; torch's DataLoader with worker processes."""
    from streaming import LocalDataset

    rows = LocalDataset(local=str(folder))

    class Windows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return ENDLESS

        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            draw = np.random.default_rng(number)
            start = int(draw.integers(4, 148))
            first = (start - 4) // 8
            begin = int(draw.integers(len(dataset))) * ROWS + first
            parts = [rows[row] for row in range(begin, begin + 3)]
            mel = round(100 * (start / 16 - 0.25)) - 50 * first
            frames = np.concatenate([part["frames"] for part in parts])
            logmel = np.concatenate([part["logmel"] for part in parts])
            return frames[start - 8 * first :][:FRAMES], logmel[mel:][:MEL_FRAMES]

    yield from torch.utils.data.DataLoader(Windows(), batch_size=batch_size, collate_fn=stacked, **PROCESSES)
