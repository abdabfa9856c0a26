"""What a rank reads before its first batch, on a filesystem and at S3, and what an update waits for the slowest rank.

    python -m tests.bench.start_up [--clips 10000000] [--ranks 64] [--folder FOLDER]

Start-up: an index of so many clips, its shards nowhere. Ranks are processes one after the other: the only one of one,
and the first and the last of `--ranks`. Each opens the dataset, makes the table of clips and its digest, and
plans its slice of the first batch of 4,096 soft-positive pairs. Bytes and reads of a filesystem are those that the
kernel counts (/proc/self/io); at S3, answers of an endpoint on loopback. Seconds are of a warm page cache.

Waiting: a simulation of loaders that read so many batches ahead. Reading a batch takes half an update on average, with
a log-normal spread of 25 %; in the second case one read of a hundred takes ten times as long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute
import pyarrow.parquet  # noqa: F401

from avprep.dataset import Dataset
from avtrain.data import Recipe, training_table
from avtrain.data.plans import strategy_of
from avtrain.sampling import digest
from tests.train.forge import forge_index
from tests.train.servers import Bucket, bucket_serving

CLASSES, BATCH, STEPS = 309, 4096, 4000


class CountingBucket(Bucket):
    """A Bucket that counts requests and the bytes of its answers."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.requests: Counter[str] = Counter()

    def _answer(self, environ: dict, start_response: object) -> Iterable[bytes]:
        answer = b"".join(super()._answer(environ, start_response))  # type: ignore[arg-type]
        if environ["REQUEST_METHOD"] != "PUT":
            self.requests += Counter(requests=1, bytes=len(answer))
        return [answer]


def start_up(folder: str, rank: int, world_size: int) -> dict[str, float]:
    """Do what a rank does before its first batch; what it took."""
    before, begin = _io(), time.perf_counter()
    dataset = Dataset(folder)
    table = training_table(dataset)
    strategy = strategy_of("soft-positive", dataset, table)
    recipe = Recipe(dataset=dataset, table=table, strategy=strategy, batch_size=BATCH, rank=rank, world_size=world_size)
    digest(strategy, table)
    step, plan = next(recipe.plans(0, 0))
    recipe.windows(plan, 0, step)
    seconds, after = time.perf_counter() - begin, _io()
    status = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1e6
    own = len(np.array_split(plan, world_size)[rank])
    return {
        "bytes": after["rchar"] - before["rchar"],
        "requests": after["syscr"] - before["syscr"],
        "seconds": seconds,
        "gb": peak,
        "pairs": own,
    }


def _io() -> dict[str, int]:
    """What the kernel counts of this process's reads."""
    return {
        name: int(value)
        for name, value in (line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    }


def ranks_of(folder: str, ranks: int, bucket: CountingBucket | None = None) -> Iterator[str]:
    """A line of the table for each rank that is tried."""
    place = "filesystem" if bucket is None else "S3"
    for rank, world_size in ((0, 1), (0, ranks), (ranks - 1, ranks)):
        if bucket is not None:
            bucket.requests.clear()
        command = [sys.executable, "-m", "tests.bench.start_up", "--rank", folder, str(rank), str(world_size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        took = json.loads(done.stdout.splitlines()[-1])
        if bucket is not None:
            took |= bucket.requests
        yield (
            f"| {place} | {rank} of {world_size} | {took['requests']:,} | {took['bytes'] / 1e6:,.1f} MB | "
            f"{took['seconds']:.1f} s | {took['gb']:.2f} GB | {took['pairs']} |"
        )


def waiting(ranks: int, ahead: int, read_seconds: np.ndarray, step_seconds: float = 1.0) -> float:
    """Mean time of an update over `step_seconds`, where it begins once all ranks have their slice of the batch.

    `read_seconds` [steps, ranks]; a rank begins to read a batch when the one `ahead` of it has been taken, and has read
    the one before.
    """
    ready, begins, end = np.zeros(ranks), [], 0.0
    for step, seconds in enumerate(read_seconds):
        free = begins[step - ahead] if step >= ahead else 0.0
        ready = np.maximum(ready, free) + seconds
        begins.append(max(end, float(ready.max())))
        end = begins[-1] + step_seconds
    return end / len(read_seconds) / step_seconds


def waits(most: int) -> Iterator[str]:
    """A line for each number of ranks and kind of reading."""
    for kind, slow_share in (("even", 0.0), ("one read of 100 takes ten times as long", 0.01)):
        for ranks in (1, 8, most):
            draw = np.random.default_rng(0)
            seconds = 0.5 * draw.lognormal(-(0.25**2) / 2, 0.25, (STEPS, ranks))
            seconds *= np.where(draw.random((STEPS, ranks)) < slow_share, 10, 1)
            figures = " | ".join(f"{waiting(ranks, ahead, seconds):.2f}" for ahead in (2, 4, 8))
            yield f"| {kind} | {ranks} | {figures} |"


def main() -> None:
    if sys.argv[1:2] == ["--rank"]:
        folder, rank, world_size = sys.argv[2:]
        print(json.dumps(start_up(folder, int(rank), int(world_size))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=10_000_000)
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="keeps the index for the next time")
    arguments = parser.parse_args()
    print("| reading | ranks | 2 batches ahead | 4 | 8 |\n|---|---|---|---|---|")
    for line in waits(arguments.ranks):
        print(line, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name) / "data"
        if not (folder / "dataset.json").exists():
            forge_index(folder, np.arange(arguments.clips) * CLASSES // arguments.clips)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
        print(", ".join(f"{name}: {size / 1e6:,.1f} MB" for name, size in files.items()))
        print("| where | rank | requests | read | seconds | peak | pairs |\n|---|---|---|---|---|---|---|")
        for line in ranks_of(str(folder), arguments.ranks):
            print(line, flush=True)
        with bucket_serving("bucket", CountingBucket) as bucket:
            for file in files:
                bucket.put(folder / file, f"data/{file}")
            for line in ranks_of("s3://bucket/data", arguments.ranks, bucket):
                print(line, flush=True)


if __name__ == "__main__":
    main()
