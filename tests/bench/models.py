"""Seconds a training step of the tiny pair takes on this CPU: forward and backward of 64 pairs with 48 px frames.

    python -m tests.bench.models [THREADS]

The limit to compare with is the demo's budget of 0.25 s on two cores. Median of 15 after 3 to warm up.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from avtrain.models.encoder import place
from avtrain.models.two_tower import build_two_tower
from avtrain.training.losses import LOSSES
from tests.train.pairwise import pairs_of


def seconds(threads: int, rounds: int = 15) -> float:
    torch.set_num_threads(threads)
    model = place(build_two_tower("tiny"), "cpu").train()
    video, audio = torch.randn(64, 3, 8, 48, 48), torch.randn(64, 1, 100, 128)
    taken = []
    for number in range(rounds + 3):
        begin = time.perf_counter()
        seen, heard = model(video, audio)
        LOSSES["info-nce"](seen, heard, pairs_of(torch.zeros(64)), 0.07).backward()
        if number >= 3:
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


if __name__ == "__main__":
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    print(f"tiny pair, {threads} threads: {seconds(threads):.3f} s a step of 64 pairs")
