"""Other loaders on the same samples: each prepares its own format once, then yields batches of windows.

Settings, the best found for each: two cores, so two worker processes (or threads where it has those); a window is cut
in the worker as early as the library lets one, and only the window is collated; formats uncompressed; page cache warm;
local folders; shuffling on where it is the library's own. Samples are the whole clips in arrays, and where the library
reads single rows at random, parts of clips instead (mosaicml-rows; lance, faster with rows of one picture than of four
or eight; spdl maps files). Each repeats the clips without end by its own means, so that no epoch's start is measured.
None but ours pairs one clip's sound with another's picture. Whose advice it is:

| rival | settings | from |
|---|---|---|
| webdataset | batches made in the workers, loader with batch_size=None | github.com/tmbdev/wds-distributed |
| litdata | StreamingDataLoader; ParallelStreamingDataset with a length, to cycle | its docstrings, notes of v0.2.51 |
| mosaicml-streaming | batch_size told to the dataset, epoch_size | docs.mosaicml.com/projects/streaming, FAQs |
| mosaicml-rows | LocalDataset, for shards that are there: random access | the same, API reference |
| lance | threads of its own, no forks; take | lancedb.github.io/lance/integrations/pytorch |
| spdl | threads, as many as the stages' concurrency | facebookresearch.github.io/spdl, Concurrency |
| mp4 | two threads, none within a decoder, no more decoded than a window needs | our own |
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avprep.dataset import Dataset
from tests.bench.rival import ENDLESS, FRAMES, MEL_FRAMES, PROCESSES, WORKERS, Batches, Rival, cut, nothing, stacked
from tests.bench.rival_mosaicml import rows_batches, rows_prepare, streaming_batches, streaming_prepare
from tests.conftest import FIXTURES


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
    yield from torch.utils.data.DataLoader(batches, batch_size=None, **PROCESSES)


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
    """StreamingDataset on a local folder, shuffled, cycled; StreamingDataLoader with worker processes."""
    import litdata

    class Windows(litdata.StreamingDataset):
        def __getitem__(self, index: Any) -> tuple[np.ndarray, np.ndarray]:
            clip = super().__getitem__(index)
            return cut(np.asarray(clip["frames"]), np.asarray(clip["logmel"]), np.random.default_rng())

    clips = Windows(str(folder), shuffle=True, drop_last=True)
    cycled = litdata.ParallelStreamingDataset([clips], length=ENDLESS, transform=lambda clips: clips[0])
    yield from litdata.StreamingDataLoader(cycled, batch_size=batch_size, collate_fn=stacked, **PROCESSES)


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


def mp4_prepare(_dataset: Dataset, folder: Path) -> None:
    """10 s of 640x360 H.264 and AAC."""
    from tests.bench.build import rendered

    folder.mkdir()
    rendered(FIXTURES / "video" / "bbb_h264_aac.mp4", folder / "clip.mp4")


def mp4_batches(_dataset: Dataset, folder: Path, batch_size: int) -> Batches:
    """PyAV on two threads: seek, decode 8 pictures at 16 a second, resize; decode 1 s of sound; no log-mel."""
    import av

    def read(_number: int) -> tuple[np.ndarray, np.ndarray]:
        with av.open(str(folder / "clip.mp4")) as media:
            video, audio = media.streams.video[0], media.streams.audio[0]
            video.thread_type = "NONE"
            start = int(np.random.default_rng().integers(4, 148)) / 16
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
    Rival("mosaicml-rows", rows_prepare, rows_batches),
    Rival("lance", lance_prepare, lance_batches),
    Rival("spdl", spdl_prepare, spdl_batches),
    Rival("mp4", mp4_prepare, mp4_batches, batch_size=16),
]
