"""What the data path costs in training: an update with the loader over an update with one resident batch.

    python -m tests.bench.step FOLDER [--size full|tiny] [--codec raw|jpeg] [--threads 2] [--updates N] [--rounds 5]

Both are `pretrain` itself; the second has the loader give one uint8 / float16 batch from memory again and again, so
that transform, models and books are the same. They run in turns, after some updates to warm up; median of rounds.
Samples: 400 clips of 10 s of noise, kept in FOLDER, in the page cache after the first run. full: 112 px, batch 16;
tiny: 48 px, batch 64. To be at most 1.03 (full) and 1.10 (tiny).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from avtrain.config import PretrainConfig
from avtrain.data.loader import Loader
from tests.bench.contest import CLASSES, SECONDS, prepared
from tests.bench.resident import Resident, seconds
from tests.train.forge import Forged, forge_dataset

CLIPS = 400
SIZES = {"full": (112, 16, 1, 3), "tiny": (48, 64, 8, 60)}  # frame size, batch, updates to warm up, updates


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--codec", choices=("raw", "jpeg"), default="raw")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    frame_size, batch_size, warm, measured = SIZES[arguments.size]
    clips = [Forged(f"c{number % CLASSES}", seconds=SECONDS) for number in range(CLIPS)]
    data = prepared(
        arguments.folder / f"{arguments.codec}-{frame_size}-{CLIPS}",
        lambda part: forge_dataset(part, clips, 32, arguments.codec, frame_size, 128),
    )
    updates = warm + (arguments.updates or measured)
    config = PretrainConfig(
        strategy="soft-positive",
        model_size=arguments.size,
        batch_size=batch_size,
        epochs=updates,
        max_steps=updates,
        checkpoint_every_steps=updates,
    )
    taken: dict[type[Loader], list[float]] = {Loader: [], Resident: []}
    for number in range(arguments.rounds):
        for loader in (Loader, Resident) if number % 2 else (Resident, Loader):
            taken[loader].append(seconds(loader, data, config, warm))
            print(f"round {number} {loader.__name__}: {taken[loader][-1]:.4f} s", flush=True)
    ours, bare = (statistics.median(each) for each in taken.values())
    print(
        f"{arguments.size}, {arguments.codec}, batch {batch_size}, {arguments.threads} threads: "
        f"{ours:.4f} s an update, {bare:.4f} s with a resident batch; {ours / bare:.3f}"
    )


if __name__ == "__main__":
    main()
