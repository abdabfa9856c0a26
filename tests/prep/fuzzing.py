"""Damaged media through the real worker: bits flipped, ends cut, runs overwritten, heads of other files."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from avprep.build.tasks import ClipTask
from avprep.build.workers import Workers
from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.errors import ClipError
from avprep.manifest.read_write import Clip

HEAD_BYTES = 4096
GOOD_EVERY = 10
CONFIG = BuildConfig(video=VideoSpec(frame_size=32))


@dataclass
class Findings:
    """What became of damaged files by reason ('' for usable ones), and how the process that drove them did."""

    reasons: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    memory_growth_bytes: int = 0
    good_clips: int = 0


def damaged(seeds: list[bytes], draw: random.Random) -> bytes:
    """One damaged copy of a seed file."""
    data = bytearray(draw.choice(seeds))

    def place() -> int:
        return draw.randrange(min(len(data), HEAD_BYTES) if draw.random() < 0.5 else len(data))

    kind = draw.choice(("flip", "cut", "smear", "head"))
    if kind == "flip":
        for _ in range(draw.choice((1, 4, 16, 64))):
            data[place()] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del data[place() :]
    elif kind == "smear":
        begin = place()
        data[begin : begin + draw.randrange(1, 512)] = draw.randbytes(draw.randrange(1, 512))
    else:
        other = draw.choice(seeds)
        size = draw.randrange(1, min(len(other), len(data), HEAD_BYTES))
        data[:size] = other[:size]
    return bytes(data)


def fuzz(seeds: list[Path], good: Path, count: int, seed: int, folder: Path, deadline_seconds: float) -> Findings:
    """Decode `count` damaged files of at least ten `seeds`; every tenth is followed by the clip `good`.

    Errors: AssertionError where a good clip is lost or comes out otherwise than at first.
    """
    draw = random.Random(seed)
    contents = [path.read_bytes() for path in seeds]
    limits = Limits(deadline_seconds=deadline_seconds)
    found = Findings()
    process = psutil.Process(os.getpid())
    tar = folder / "fuzz.tar"
    tar.write_bytes(b"")

    with Workers(1, limits) as workers:

        def shard_of(path: Path) -> bytes:
            task = ClipTask(Clip("a", "x", video_path=path.name), str(path.parent), CONFIG, limits, str(tar), 0)
            record = workers.run(task)
            return tar.read_bytes()[: record.end_offset]

        reference = shard_of(good)
        before = process.memory_info().rss
        for number in range(count):
            path = folder / f"damaged{seeds[number % len(seeds)].suffix}"
            path.write_bytes(damaged(contents, draw))
            begin = time.monotonic()
            try:
                shard_of(path)
                found.reasons[""] += 1
            except ClipError as error:
                found.reasons[error.reason] += 1
            found.slowest_seconds = max(found.slowest_seconds, time.monotonic() - begin)
            if number % GOOD_EVERY == 0:
                assert shard_of(good) == reference, f"the good clip after damaged file {number} is another"
                found.good_clips += 1
        found.memory_growth_bytes = process.memory_info().rss - before
    return found
