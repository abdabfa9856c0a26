"""Other loaders on the same samples: each prepares its own format once, then yields batches of windows.

Settings, the best found for each: two cores, so two worker processes (or threads where it has those); samples are the
whole clips of the dataset in arrays; a window is cut in the worker as early as the library lets one, and only the
window is collated; formats uncompressed; page cache warm; local folders; shuffling on where it is the library's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avprep.dataset import Dataset

FRAMES, MEL_FRAMES = 8, 100
WORKERS = 2
PROCESSES: dict[str, Any] = {"num_workers": WORKERS, "prefetch_factor": 2, "multiprocessing_context": "fork"}
Batches = Iterator[Any]


@dataclass(frozen=True)
class Rival:
    """prepare(dataset, folder) writes its format; batches(dataset, folder, batch_size) yields without end."""

    name: str
    prepare: Callable[[Dataset, Path], None]
    batches: Callable[[Dataset, Path, int], Batches]


def cut(frames: np.ndarray, logmel: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Copies of a window of the pictures and of the sound around it."""
    start = int(draw.integers(4, len(frames) - 12))
    mel = round(100 * (start / 16 - 0.25))
    return frames[start : start + FRAMES].copy(), logmel[mel : mel + MEL_FRAMES].copy()


def stacked(samples: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples as two tensors."""
    video, audio = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(video)), torch.from_numpy(np.stack(audio))


def nothing(_dataset: Dataset, _folder: Path) -> None:
    """The dataset's own shards are read."""


def forever(make: Callable[[], Any]) -> Batches:
    """Epoch after epoch."""
    while True:
        yield from make()


def webdataset_batches(dataset: Dataset, _folder: Path, batch_size: int) -> Batches:
    """Sequential tars, no shuffling (faster than with); arrays are views of the member's bytes, so only windows are
    copied; batches made in the workers."""
    import webdataset

    shards = [str(dataset.folder / shard) for shard in dataset.shards]

    def windows(clip: dict[str, Any], draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        frames = np.frombuffer(clip["frames.npy"], np.uint8, offset=128).reshape(-1, 112, 112, 3)
        return cut(frames, np.frombuffer(clip["logmel.npy"], np.float16, offset=128).reshape(-1, 128), draw)

    draw = np.random.default_rng(0)
    clips = webdataset.WebDataset(shards, shardshuffle=False, resampled=True).map(lambda clip: windows(clip, draw))
    batches = clips.batched(batch_size, collation_fn=stacked, partial=False)
    return iter(torch.utils.data.DataLoader(batches, batch_size=None, **PROCESSES))


class _ClipSample:
    """A whole clip as the arrays that the other formats store; picklable, for their writers' processes."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        clip = Dataset(self.folder).read_clip(row)
        return {"frames": clip.frames, "logmel": clip.logmel}


def litdata_prepare(dataset: Dataset, folder: Path) -> None:
    """Chunks of 256 MB, uncompressed."""
    import litdata

    rows = list(range(len(dataset)))
    sample = _ClipSample(str(dataset.folder))
    litdata.optimize(fn=sample, inputs=rows, output_dir=str(folder), chunk_bytes="256MB", num_workers=1)


def litdata_batches(_dataset: Dataset, folder: Path, batch_size: int) -> Batches:
    """StreamingDataset on a local folder, shuffled; StreamingDataLoader with worker processes."""
    import litdata

    class Windows(litdata.StreamingDataset):
        def __getitem__(self, index: Any) -> tuple[np.ndarray, np.ndarray]:
            clip = super().__getitem__(index)
            return cut(np.asarray(clip["frames"]), np.asarray(clip["logmel"]), np.random.default_rng())

    clips = Windows(str(folder), shuffle=True, drop_last=True)
    return forever(lambda: litdata.StreamingDataLoader(clips, batch_size=batch_size, collate_fn=stacked, **PROCESSES))


def streaming_prepare(dataset: Dataset, folder: Path) -> None:
    """MDS shards of 256 MB, arrays of fixed shape, no compression, no hashes."""
    from streaming import MDSWriter

    columns = {"frames": "ndarray:uint8:160,112,112,3", "logmel": "ndarray:float16:1001,128"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=1 << 28) as out:
        for row in range(len(dataset)):
            clip = dataset.read_clip(row)
            out.write({"frames": clip.frames, "logmel": clip.logmel})


def streaming_batches(_dataset: Dataset, folder: Path, batch_size: int) -> Batches:
    """StreamingDataset on a local folder, its default shuffle; torch's DataLoader with worker processes."""
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()

    class Windows(StreamingDataset):
        def __getitem__(self, index: Any) -> Any:
            clip = super().__getitem__(index)
            return cut(clip["frames"], clip["logmel"], np.random.default_rng())

    clips = Windows(local=str(folder), shuffle=True, batch_size=batch_size)
    loader = torch.utils.data.DataLoader(clips, batch_size=batch_size, collate_fn=stacked, drop_last=True, **PROCESSES)
    return forever(lambda: loader)


def lance_prepare(dataset: Dataset, folder: Path) -> None:
    """A row a picture and a row a log-mel frame, as fixed-size binaries, so that a window is a `take` of few rows."""
    import lance
    import pyarrow as pa

    for name, column in (("frames", "frames"), ("logmel", "logmel")):
        for row in range(len(dataset)):
            array = getattr(dataset.read_clip(row), column)
            size = array[0].nbytes
            buffers = [None, pa.py_buffer(np.ascontiguousarray(array))]
            values = pa.Array.from_buffers(pa.binary(size), len(array), buffers)
            table = pa.table({"data": values})
            lance.write_dataset(
                table, str(folder / name), mode="append" if row else "create", max_rows_per_file=1 << 20
            )
        lance.dataset(str(folder / name)).optimize.compact_files()


def lance_batches(dataset: Dataset, folder: Path, batch_size: int) -> Batches:
    """Random access by `take`, one for pictures and one for sound a batch; Lance reads with threads of its own."""
    import lance

    frames, logmel = lance.dataset(str(folder / "frames")), lance.dataset(str(folder / "logmel"))
    draw = np.random.default_rng(0)

    def taken(table: Any, rows: np.ndarray, shape: tuple[int, ...], dtype: type) -> torch.Tensor:
        column = table.take(rows.ravel().tolist()).column("data").combine_chunks()
        data = column if not hasattr(column, "chunk") else column.chunk(0)
        return torch.from_numpy(np.frombuffer(data.buffers()[1], dtype)[: np.prod(shape)].reshape(shape).copy())

    while True:
        clips = draw.integers(0, len(dataset), batch_size)
        starts = draw.integers(4, 148, batch_size)
        mels = np.rint(100 * (starts / 16 - 0.25)).astype(int)
        yield (
            taken(
                frames, clips[:, None] * 160 + starts[:, None] + np.arange(8), (batch_size, 8, 112, 112, 3), np.uint8
            ),
            taken(logmel, clips[:, None] * 1001 + mels[:, None] + np.arange(100), (batch_size, 100, 128), np.float16),
        )


def spdl_prepare(dataset: Dataset, folder: Path) -> None:
    """An npy file a clip and track."""
    folder.mkdir()
    for row in range(len(dataset)):
        clip = dataset.read_clip(row)
        np.save(folder / f"{row}.frames.npy", clip.frames)
        np.save(folder / f"{row}.logmel.npy", clip.logmel)


def spdl_batches(dataset: Dataset, folder: Path, batch_size: int) -> Batches:
    """A pipeline of threads: mapped files, so only windows are read; batches stacked in a stage of its own."""
    from spdl.pipeline import PipelineBuilder

    def read(row: int) -> tuple[np.ndarray, np.ndarray]:
        frames = np.load(folder / f"{row}.frames.npy", mmap_mode="r")
        return cut(frames, np.load(folder / f"{row}.logmel.npy", mmap_mode="r"), np.random.default_rng())

    order = np.random.default_rng(0)
    rows = (int(order.integers(len(dataset))) for _ in itertools.count())
    pipeline = (
        PipelineBuilder()
        .add_source(rows)
        .pipe(read, concurrency=WORKERS)
        .aggregate(batch_size)
        .pipe(stacked)
        .add_sink(2)
        .build(num_threads=WORKERS + 1)
    )
    with pipeline.auto_stop():
        yield from pipeline


def mp4_batches(_dataset: Dataset, folder: Path, batch_size: int) -> Batches:
    """PyAV on two threads: seek, decode 8 pictures at 16 a second, resize; decode 1 s of sound; no log-mel."""
    import av

    clip = next(folder.glob("*.mp4"))

    def read(_number: int) -> tuple[np.ndarray, np.ndarray]:
        with av.open(str(clip)) as media:
            video, audio = media.streams.video[0], media.streams.audio[0]
            start = float(np.random.default_rng().uniform(0, 0.5)) * float(media.duration / av.time_base)
            media.seek(int(start * av.time_base))
            pictures: list[np.ndarray] = []
            due = start
            for frame in media.decode(video):
                if frame.time is not None and frame.time >= due:
                    pictures.append(frame.reformat(112, 112, "rgb24").to_ndarray())
                    due += 1 / 16
                if len(pictures) == FRAMES:
                    break
            media.seek(int(start * av.time_base))
            sound = [frame.to_ndarray() for frame in itertools.islice(media.decode(audio), 48)]
        pictures += [pictures[-1]] * (FRAMES - len(pictures))
        return np.stack(pictures), np.resize(np.concatenate(sound, axis=1)[0], (MEL_FRAMES, 128)).astype(np.float16)

    with ThreadPoolExecutor(WORKERS) as pool:
        while True:
            yield stacked(list(pool.map(read, range(batch_size))))


RIVALS = [
    Rival("webdataset", nothing, webdataset_batches),
    Rival("litdata", litdata_prepare, litdata_batches),
    Rival("mosaicml-streaming", streaming_prepare, streaming_batches),
    Rival("lance", lance_prepare, lance_batches),
    Rival("spdl", spdl_prepare, spdl_batches),
]
