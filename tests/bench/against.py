"""build-shards and the loader of this tree beside those of another checkout, in turns; a ratio of 1 is the same speed.

python -m tests.bench.against TREE CLIP... [--clips-in-all 96] [--rounds 5]    (CLIP: any videos to render from)
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from avprep.manifest.read_write import Clip, write_manifest
from tests.bench.build import CLASSES, rendered
from tests.bench.contest import forged
from tests.conftest import REPOSITORY

BUILD = """
import sys, time
from avprep.cli import main
begin = time.perf_counter()
try:
    main(["build-shards", sys.argv[1], "--out", sys.argv[2], "--workers", "2"])
except SystemExit as end:
    assert not end.code, end.code
print(time.perf_counter() - begin)
"""
LOAD = """
import sys, time
from avtrain.data import Dataset, Loader, strategy_of, training_table
dataset = Dataset(sys.argv[1])
table = training_table(dataset)
loader = Loader(dataset, table, strategy_of("soft-positive", dataset, table), batch_size=309, epochs=1000)
batches = iter(loader)
for _ in range(10):
    next(batches)
begin = time.perf_counter()
for _ in range(300):
    next(batches)
seconds = time.perf_counter() - begin
batches.close()
print(seconds)
"""


def seconds_of(tree: Path, script: str, *arguments: object) -> float:
    """What a script prints last, run with the packages of `tree`."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--clips-in-all", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    trees = {"other": arguments.tree.resolve(), "this": REPOSITORY}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [folder / f"{number}.mp4" for number in range(len(arguments.clips))]
        for clip, source in zip(arguments.clips, sources, strict=True):
            rendered(clip, source)
        manifest, out = folder / "clips.csv", folder / "out"
        paths = [sources[number % len(sources)] for number in range(arguments.clips_in_all)]
        write_manifest(manifest, [Clip(str(n), f"class {n % CLASSES}", "train", str(p)) for n, p in enumerate(paths)])
        samples = forged(folder, 400, "raw").folder
        seconds: dict[tuple[str, str], list[float]] = {(what, one): [] for what in ("build", "loader") for one in trees}
        for turn in range(arguments.rounds):
            for one in sorted(trees, reverse=turn % 2 == 0):  # each begins as often
                shutil.rmtree(out, ignore_errors=True)
                seconds["build", one].append(seconds_of(trees[one], BUILD, manifest, out))
                seconds["loader", one].append(seconds_of(trees[one], LOAD, samples))
        for what in ("build", "loader"):
            pairs = list(zip(seconds[what, "other"], seconds[what, "this"], strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{what}: seconds of the other over seconds of this, median {ratio:.3f}")
            print(f"  {[(round(a, 2), round(b, 2)) for a, b in pairs]}")


if __name__ == "__main__":
    main()
