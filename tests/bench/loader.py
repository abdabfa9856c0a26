"""Pairs a second of our loader, of bare reading and of other loaders, on one set of samples, in turns.

    python tests/bench/loader.py FOLDER [--clips 400] [--rivals webdataset,litdata,...] [--http] [--jpeg] [--soak 20000]

FOLDER keeps what is prepared (6 MB a clip and format) for the next time. Samples: 10 s of noise, 112 px, 128 bands,
raw. Ours: soft-positive, batch 309, plan and copy into the ring included; limits as in avtrain/bench.py; rivals and
their settings: rivals.py (pip install litdata mosaicml-streaming pylance spdl). Medians of 5. The page cache must hold
the samples: run twice, or look at the first round.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from avprep.dataset import Dataset
from avtrain.bench import BenchConfig, bare_ways, loader_seconds, measure, plan_batches
from avtrain.data import Loader, Recipe, training_table
from avtrain.sampling import parse_strategy
from tests.bench.rivals import RIVALS, Rival, mp4_batches, nothing
from tests.conftest import FIXTURES
from tests.train.forge import Forged, forge_dataset

CLASSES, SECONDS = 8, 10.0
SERVER = """
import sys, time
from pathlib import Path
from tests.train.servers import serving
with serving(Path(sys.argv[1])) as server:
    server.latency_seconds = float(sys.argv[2])
    print(server.url, flush=True)
    for _ in sys.stdin:
        print(sum(sent for path, sent in server.sent.items() if path.endswith(".tar")), flush=True)
"""


def prepared(folder: Path, make: Callable[[Path], Any]) -> Path:
    """`folder`, made if it is not there; half a preparation does not stay."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        make(part)
        if part.exists():
            part.rename(folder)
    return folder


def forged(folder: Path, clips: int, codec: str) -> Dataset:
    """The samples, in our format."""
    every = [Forged(f"c{number % CLASSES}", seconds=SECONDS) for number in range(clips)]
    return Dataset(prepared(folder / f"{codec}-{clips}", lambda part: forge_dataset(part, every, 32, codec, 112, 128)))


def rival_seconds(rival: Rival, dataset: Dataset, folder: Path, config: BenchConfig) -> float:
    """Seconds for as many batches as ours, after two to warm up."""
    batches = rival.batches(dataset, folder, config.batch_size)
    for _ in range(2):
        next(batches)
    begin = time.perf_counter()
    for _ in range(config.batches):
        next(batches)
    return time.perf_counter() - begin


def against(dataset: Dataset, folder: Path, names: list[str], config: BenchConfig) -> dict[str, float]:
    """Median pairs a second by contestant."""
    recipe = Recipe(
        dataset=dataset,
        table=training_table(dataset),
        strategy=parse_strategy("soft-positive"),
        batch_size=config.batch_size,
    )
    ring = 2 * config.prefetch + 2
    limits = bare_ways(recipe, plan_batches(recipe, ring, config.batches), config.threads)
    ways: dict[str, Callable[[], float]] = {"ours": lambda: loader_seconds(recipe, config, ring), **limits}
    mp4 = prepared(folder / "mp4", lambda part: shutil.copytree(FIXTURES / "video", part))
    for rival in [*RIVALS, Rival("mp4", nothing, mp4_batches)]:
        if rival.name in names:
            place = mp4 if rival.name == "mp4" else folder / f"{rival.name}-{len(dataset)}"
            prepared(place, lambda part, rival=rival: rival.prepare(dataset, part))  # type: ignore[misc]
            ways[rival.name] = lambda rival=rival, place=place: rival_seconds(rival, dataset, place, config)  # type: ignore[misc]
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(config.rounds):
        for name, seconds in ways.items():
            taken[name].append(seconds())
            print(
                f"round {number} {name}: {config.batches * config.batch_size / taken[name][-1]:,.0f}", file=sys.stderr
            )
    return {name: config.batches * config.batch_size / statistics.median(each) for name, each in taken.items()}


def over_http(dataset: Dataset, config: BenchConfig, latency_seconds: float = 0.02) -> dict[str, float]:
    """Pairs a second from a server in a process of its own that waits before each answer; bytes fetched and needed."""
    command = [sys.executable, "-c", SERVER, str(dataset.folder), str(latency_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        far = Dataset(server.stdout.readline().strip())
        recipe = Recipe(
            dataset=far,
            table=training_table(far),
            strategy=parse_strategy("soft-positive"),
            batch_size=config.batch_size,
        )
        taken, needed = [], 0
        for _ in range(config.rounds):
            steps = recipe.steps_per_epoch
            epochs = -(-config.batches // steps)
            loader = Loader(far, recipe.table, recipe.strategy, batch_size=config.batch_size, epochs=epochs)
            loader.load_state_dict({"epoch": 0, "step": epochs * steps - config.batches})  # no more is read ahead
            begin = time.perf_counter()
            needed += sum(batch.video.nbytes + batch.audio.nbytes for batch in loader)
            taken.append(time.perf_counter() - begin)
        print(file=server.stdin, flush=True)
        sent = int(server.stdout.readline())
        server.stdin.close()
    pairs = config.batches * config.batch_size
    return {"pairs_per_second": pairs / statistics.median(taken), "fetched_per_needed": sent / needed}


def soak(dataset: Dataset, batches: int) -> dict[str, list[float]]:
    """Resident memory in MB and open files, ten times over `batches` batches of 8."""
    loader = Loader(dataset, training_table(dataset), parse_strategy("soft-positive"), batch_size=8, epochs=1 << 30)
    process, found = psutil.Process(), {"resident_mb": [], "open_files": []}
    for number, _ in enumerate(loader, 1):
        if number % max(1, batches // 10) == 0:
            found["resident_mb"].append(round(process.memory_info().rss / 1e6, 1))
            found["open_files"].append(process.num_fds())
        if number == batches:
            return found
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=309)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", default=",".join([*(rival.name for rival in RIVALS), "mp4"]))
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--jpeg", action="store_true")
    parser.add_argument("--soak", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    config = BenchConfig(
        strategies=("soft-positive",), batch_size=options.batch_size, batches=options.batches, rounds=options.rounds
    )
    dataset = forged(options.folder, options.clips, "raw")
    rates = against(dataset, options.folder, options.rivals.split(","), config)
    found: dict[str, Any] = {"pairs_per_second": rates, "of_bare_preadv": rates["ours"] / rates["bare_preadv"]}
    rivals = {name: rate for name, rate in rates.items() if name in options.rivals.split(",")}
    if rivals:
        found["times_the_best_rival"] = rates["ours"] / max(rivals.values())
    if options.jpeg:
        jpeg = measure(forged(options.folder, options.clips, "jpeg"), config)["strategies"]["soft-positive"]
        found["jpeg"] = jpeg
        found["jpeg_of_bare_decode"] = jpeg["loader_pairs_per_second"] / jpeg["bare_decode_pairs_per_second"]
    if options.http:
        found["http_20_ms"] = over_http(dataset, config)
    if options.soak:
        found["soak"] = soak(dataset, options.soak)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
