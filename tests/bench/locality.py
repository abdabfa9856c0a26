"""Would it pay to draw batches from a rotating set of open shards? Cold reads of soft-positive windows, both ways.

Every clip's window is read once, in batches, from a page cache that was emptied (needs root): in random order, and
from OPEN_SHARDS shards at a time, the next one opened as one is used up. Both passes read the same bytes; the kernel
reads ahead as it likes. On a disk that seeks, or a share that fetches ahead, the second is faster.

    python -m tests.bench.locality DATASET [--rounds 5] [--batch-size 40]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from avprep.dataset import Dataset
from avtrain.data.reader import Reader
from avtrain.data.window_sizes import window_of
from avtrain.sampling.windows import draw_windows

OPEN_SHARDS = 4
CACHES = Path("/proc/sys/vm/drop_caches")


def rotating(shard: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """All rows, each drawn from one of OPEN_SHARDS shards that are open at the time."""
    waiting = [list(draw.permutation(np.flatnonzero(shard == number))) for number in draw.permutation(shard.max() + 1)]
    opened, order = waiting[:OPEN_SHARDS], []
    waiting = waiting[OPEN_SHARDS:]
    while opened:
        chosen = int(draw.integers(len(opened)))
        order.append(opened[chosen].pop())
        if not opened[chosen]:
            opened[chosen : chosen + 1] = [waiting.pop()] if waiting else []
    return np.array(order)


def seconds_of(dataset: Dataset, order: np.ndarray, batch_size: int, seed: int) -> float:
    """Seconds to read the window of each clip of `order` from a cold cache."""
    window = window_of(dataset)
    video = np.empty((batch_size, window.num_frames, dataset.frame_size, dataset.frame_size, 3), np.uint8)
    audio = np.empty((batch_size, window.num_mel_frames, dataset.num_mel_bands), np.float16)
    CACHES.write_text("1")
    with Reader(dataset) as reader:
        begin = time.perf_counter()
        for step, rows in enumerate(order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)):
            plan = np.stack([rows, rows], axis=1)
            windows = draw_windows(plan, dataset.num_frames, window, seed=seed, epoch=0, step=step)
            reader.read_pairs(plan, windows, video, audio)
        return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=40)
    arguments = parser.parse_args()
    dataset = Dataset(arguments.dataset)
    ratios = []
    for seed in range(arguments.rounds):
        draw = np.random.default_rng(seed)
        orders = {"random": draw.permutation(len(dataset)), "rotating": rotating(dataset.shard, draw)}
        seconds = {name: seconds_of(dataset, order, arguments.batch_size, seed) for name, order in orders.items()}
        ratios.append(seconds["random"] / seconds["rotating"])
        print({name: f"{len(dataset) / value:,.0f} pairs/s" for name, value in seconds.items()}, flush=True)
    print(f"rotating shards over random order: median {statistics.median(ratios):.2f} of {len(ratios)} rounds")


if __name__ == "__main__":
    main()
