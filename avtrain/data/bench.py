"""avtrain bench: pairs a second from this storage on this machine, beside what bare reading or decoding can do.

Bare means: the ranges of the very same batches by `preadv` into memory that is there, with as many threads as the
loader has and with one; a copy of as many bytes in memory by one thread; and for JPEGs `simplejpeg` alone on bytes in
memory with as many threads as the loader has.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset
from avprep.shared.commands import Progress
from avprep.shared.configs import check
from avtrain.config import READ_THREADS, PretrainConfig, check_windows
from avtrain.data.batches import Buffers, Recipe
from avtrain.data.byte_ranges import Ranges, audio_ranges, pictures_there, video_ranges
from avtrain.data.cache import CacheConfig
from avtrain.data.jpeg_sizes import FrameSizes
from avtrain.data.loader import Loader
from avtrain.data.plans import strategy_of, training_table
from avtrain.data.reader import views
from avtrain.data.window_sizes import sentence_of, window_of


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What is measured: each strategy `rounds` times over the same batches, in turns; medians are reported."""

    strategies: tuple[str, ...] = ("random", "soft-positive")
    batch_size: int = 309
    batches: int = 20
    """batches of a measurement"""
    rounds: int = 5
    threads: int = READ_THREADS
    prefetch: int = 2
    seed: int = 0
    window_frames: int = PretrainConfig.window_frames
    """as in PretrainConfig"""
    frame_stride: int = PretrainConfig.frame_stride
    """as in PretrainConfig"""
    audio_seconds: float = PretrainConfig.audio_seconds
    """as in PretrainConfig"""

    def __post_init__(self) -> None:
        numbers = (self.batch_size, self.batches, self.rounds, self.threads, self.prefetch)
        check(min(numbers) >= 1, "batch size, batches, rounds, threads and prefetch must be 1 or more.")
        check_windows(self)


@dataclass(frozen=True)
class Planned:
    """The ranges of some batches: (video, audio) of each, and for JPEGs the sizes of the stored ones in each range."""

    ranges: list[tuple[Ranges, Ranges]]
    sizes: list[list[np.ndarray]]

    @property
    def needed_bytes(self) -> int:
        """Bytes in all ranges."""
        return sum(int(part.length.sum()) for pair in self.ranges for part in pair)


def measure(dataset: Dataset, config: BenchConfig, cache: CacheConfig | None = None) -> dict[str, Any]:
    """Pairs a second of each strategy and of what bounds it. Errors: UserError.

    `first` is the first pass, with all that is done once and maybe a cold page cache; the others are medians of
    `rounds`, taken when every buffer of the ring has been used once.
    """
    recipes = {name: recipe_of(dataset, name, config) for name in config.strategies}
    ring = 2 * config.prefetch + 2
    planned = {name: plan_batches(recipe, ring, config.batches) for name, recipe in recipes.items()}
    taken: dict[tuple[str, str], list[float]] = {}
    first = {name: loader_seconds(recipe, config, 0, cache) for name, recipe in recipes.items()}
    with Progress(config.rounds * len(recipes), "measurements", "bench") as progress:
        for name in list(recipes) * config.rounds:
            ways: dict[str, Callable[[], float]] = {
                "loader": lambda name=name: loader_seconds(recipes[name], config, ring, cache),  # type: ignore[misc]
                **bare_ways(recipes[name], planned[name], config.threads),
            }
            for way, seconds in ways.items():
                taken.setdefault((name, way), []).append(seconds())
            progress.advance()
    pairs = config.batches * config.batch_size
    return {
        "dataset": str(dataset.folder),
        "codec": dataset.frame_codec,
        "windows": sentence_of(next(iter(recipes.values())).spec),
        "batch_size": config.batch_size,
        "threads": config.threads,
        "cpus": os.cpu_count(),
        "strategies": {
            name: {
                "first_pairs_per_second": pairs / first[name],
                "bytes_per_pair": planned[name].needed_bytes / pairs,
                **{
                    f"{way}_pairs_per_second": pairs / statistics.median(seconds)
                    for (of, way), seconds in taken.items()
                    if of == name
                },
                "feeds_steps_per_second": config.batches / statistics.median(taken[name, "loader"]),
            }
            for name in recipes
        },
    }


def recipe_of(dataset: Dataset, strategy: str, config: BenchConfig) -> Recipe:
    table = training_table(dataset)
    return Recipe(
        dataset=dataset,
        table=table,
        strategy=strategy_of(strategy, dataset, table),
        batch_size=config.batch_size,
        seed=config.seed,
        window=window_of(dataset, config.window_frames, config.frame_stride, config.audio_seconds),
    )


def plan_batches(recipe: Recipe, first: int, count: int) -> Planned:
    """The ranges of `count` batches from the `first` on, epoch after epoch."""
    dataset, spec = recipe.dataset, recipe.spec
    steps = ((epoch, step, plan) for epoch in itertools.count() for step, plan in recipe.plans(epoch, 0))
    frame_sizes = FrameSizes(dataset) if dataset.frame_codec == "jpeg" else None
    planned = Planned([], [])
    for epoch, step, plan in itertools.islice(steps, first, first + count):
        windows = recipe.windows(plan, epoch, step)
        audio_rows, rows = plan.T
        if frame_sizes is not None:
            frame_sizes.load(rows)
            counts = pictures_there(dataset, rows, windows.frame, spec.picture_frames)
            planned.sizes.append([frame_sizes.of(*each) for each in zip(rows, windows.frame, counts, strict=True)])
        video = video_ranges(dataset, rows, windows.frame, spec.num_frames, frame_sizes, spec.frame_stride)
        planned.ranges.append((video, audio_ranges(dataset, audio_rows, windows.mel_frame, spec.num_mel_frames)))
    return planned


def loader_seconds(recipe: Recipe, config: BenchConfig, first: int, cache: CacheConfig | None = None) -> float:
    """Seconds for `config.batches` batches of a new loader, from the `first` on."""
    loader = Loader(
        recipe.dataset,
        recipe.table,
        recipe.strategy,
        batch_size=config.batch_size,
        epochs=1 << 30,
        seed=config.seed,
        window=recipe.window,
        prefetch=config.prefetch,
        threads=config.threads,
        cache=cache,
    )
    batches = iter(loader)
    for _ in range(first):
        next(batches)
    begin = time.perf_counter()
    for _ in range(config.batches):
        next(batches)
    seconds = time.perf_counter() - begin
    batches.close()  # type: ignore[attr-defined]
    return seconds


def bare_ways(recipe: Recipe, planned: Planned, threads: int) -> dict[str, Callable[[], float]]:
    """Functions that do a part of the loader's work with nothing around it, and return the seconds it took."""
    if not all(isinstance(recipe.dataset.shard_file(shard), Path) for shard in _shards(planned)):
        return {}
    ways = {
        "bare_preadv": lambda: _preadv_seconds(recipe, planned, threads),
        "bare_preadv_one_thread": lambda: _preadv_seconds(recipe, planned, 1),
        "memcpy": lambda: _copy_seconds(recipe, planned),
    }
    return ways | ({"bare_decode": lambda: _decode_seconds(recipe, planned, threads)} if planned.sizes else {})


def _shards(planned: Planned) -> list[int]:
    """Numbers of the shards that some batches are of."""
    return np.unique(np.concatenate([part.shard for pair in planned.ranges for part in pair])).tolist()


def _files(recipe: Recipe, planned: Planned) -> dict[int, int]:
    """Open handles of those shards, which are on this machine."""
    return {shard: os.open(str(recipe.dataset.shard_file(shard)), os.O_RDONLY) for shard in _shards(planned)}


def _preadv_seconds(recipe: Recipe, planned: Planned, threads: int) -> float:
    """Each thread reads every `threads`-th batch, over and over into one buffer of its own."""
    targets = [_touched(recipe) for _ in range(threads)]
    files = _files(recipe, planned)

    def read(number: int) -> None:
        arrays = targets[number].video_array, targets[number].audio_array
        for pair in planned.ranges[number::threads]:
            pairs = len(pair[1].length)
            for part, array in zip(pair, arrays, strict=True):
                # the pictures between strided JPEGs have no memory in a batch: a range is read as far as it fits
                buffers = views(array[:pairs], part.length)
                columns = (part.shard.tolist(), part.offset.tolist())
                for shard, offset, buffer in zip(*columns, buffers, strict=True):
                    os.preadv(files[shard], [buffer], offset)

    try:
        return _threads_seconds(read, threads)
    finally:
        for handle in files.values():
            os.close(handle)


def _threads_seconds(work: Callable[[int], None], threads: int) -> float:
    """Seconds that `work(0)` to `work(threads - 1)` take, each in a thread of its own."""
    with ThreadPoolExecutor(threads) as pool:
        begin = time.perf_counter()
        list(pool.map(work, range(threads)))
        return time.perf_counter() - begin


def _touched(recipe: Recipe) -> Buffers:
    """Buffers whose memory is there."""
    buffers = recipe.buffers()
    buffers.video_array[:], buffers.audio_array[:] = 1, 1
    return buffers


def _copy_seconds(recipe: Recipe, planned: Planned) -> float:
    source, target = _touched(recipe), _touched(recipe)
    begin = time.perf_counter()
    for _ in planned.ranges:
        target.video_array[:] = source.video_array
        target.audio_array[:] = source.audio_array
    return time.perf_counter() - begin


def _decode_seconds(recipe: Recipe, planned: Planned, threads: int) -> float:
    import simplejpeg

    out = recipe.buffers().video_array
    files = _files(recipe, planned)
    pictures: list[tuple[bytes, np.ndarray]] = []
    try:
        for (video, _), sizes in zip(planned.ranges, planned.sizes, strict=True):
            for item, (shard, offset) in enumerate(zip(video.shard.tolist(), video.offset.tolist(), strict=True)):
                stored = np.cumsum(sizes[item]) - sizes[item]
                starts, lengths = (column[:: recipe.spec.frame_stride].tolist() for column in (stored, sizes[item]))
                for buffer, begin, size in zip(out[item], starts, lengths, strict=False):
                    pictures.append((os.pread(files[shard], size, offset + begin), buffer))
    finally:
        for handle in files.values():
            os.close(handle)

    def decode(number: int) -> None:
        for data, buffer in pictures[number * len(pictures) // threads : (number + 1) * len(pictures) // threads]:
            simplejpeg.decode_jpeg(data, "RGB", buffer=buffer)

    return _threads_seconds(decode, threads)


def printed(result: dict[str, Any]) -> str:
    """The figures in lines for a terminal."""
    lines = [
        f"{result['dataset']}: {result['codec']}, batches of {result['batch_size']}, {result['threads']} threads",
        f"  {result['windows']}",
    ]
    limits = {
        "bare_preadv": "bare preadv",
        "bare_preadv_one_thread": "bare preadv, one thread",
        "memcpy": "a copy in memory, one thread",
        "bare_decode": "bare decoding",
    }
    for name, figures in result["strategies"].items():
        rate = figures["loader_pairs_per_second"]
        lines.append(
            f"  {name}: {rate:,.0f} pairs/s (first pass {figures['first_pairs_per_second']:,.0f}), "
            f"{figures['bytes_per_pair'] / 1000:,.0f} kB a pair"
        )
        for way, title in limits.items():
            if f"{way}_pairs_per_second" in figures:
                limit = figures[f"{way}_pairs_per_second"]
                lines.append(f"    {title}: {limit:,.0f} pairs/s; the loader gives {rate / limit:.2f} of it")
        steps = figures["feeds_steps_per_second"]
        lines.append(f"    feeds {steps:,.1f} steps/s: a step of {1000 / steps:,.1f} ms or longer never waits")
    return "\n".join(lines)
