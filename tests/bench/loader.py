"""Pairs a second of our loader, of bare reading and of other loaders, on one set of samples, in turns.

    python -m tests.bench.loader FOLDER [--clips 400] [--rivals webdataset,litdata,...] [--http] [--jpeg] [--soak 20000]
    python -m tests.bench.loader FOLDER --frame-size 224 --window-frames 16 [--frame-stride N] [--audio-seconds S]

FOLDER keeps what is prepared (6 MB a clip and format) for the next time. Samples: 10 s of noise, 112 px, 128 bands,
raw. Ours: soft-positive, batch 309, plan and copy into the ring included; limits as in avtrain/data/bench.py; rivals
and their settings: rivals.py (pip install litdata mosaicml-streaming pylance spdl). Medians of 5. The page cache must
hold the samples (15 GB): run twice, or look at the first round. About 12 minutes, and 4 to prepare.

With other windows or pictures, ours and the limits are measured alone: the rivals' are the paper's. 10 s of 224 px are
24 MB a clip and 16 pictures 2.4 MB a pair, so that 100 clips in batches of 32 are enough: the loader holds 6 batches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from avprep.dataset import Dataset
from avtrain.data import Loader, Recipe, training_table
from avtrain.data.bench import BenchConfig, measure
from avtrain.sampling import parse_strategy
from tests.bench.contest import OURS, Contest, forged, turns
from tests.bench.rivals import RIVALS

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


def ratios(rates: dict[str, float]) -> dict[str, Any]:
    """Ours over bare reading and over the best rival."""
    rivals = {name: rate for name, rate in rates.items() if name not in OURS}
    best = max(rivals, key=lambda name: rivals[name], default=None)
    return {
        "of_bare_preadv": rates["ours"] / rates["bare_preadv"],
        "of_bare_preadv_one_thread": rates["ours"] / rates["bare_preadv_one_thread"],
        "best_rival": best,
        "times_the_best_rival": rates["ours"] / rivals[best] if best else None,
    }


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
    parser.add_argument("--batches", type=int, default=100, help="batches of ours and of the limits a round")
    parser.add_argument("--seconds", type=float, default=12.0, help="seconds of a rival a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", default=None, help="default: all, none where windows or pictures are others")
    parser.add_argument("--frame-size", type=int, default=Contest.frame_size)
    parser.add_argument("--window-frames", type=int, default=Contest.window_frames)
    parser.add_argument("--frame-stride", type=int, default=Contest.frame_stride)
    parser.add_argument("--audio-seconds", type=float, default=Contest.audio_seconds)
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--jpeg", action="store_true")
    parser.add_argument("--soak", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: getattr(options, name) for name in ("window_frames", "frame_stride", "audio_seconds")}
    contest = Contest(
        folder=str(options.folder),
        clips=options.clips,
        batch_size=options.batch_size,
        batches=options.batches,
        seconds=options.seconds,
        frame_size=options.frame_size,
        **sizes,
    )
    usual = all(getattr(contest, name) == getattr(Contest, name) for name in ("frame_size", *sizes))
    rivals = options.rivals if options.rivals is not None else ",".join(rival.name for rival in RIVALS if usual)
    rates = turns(contest, [*OURS, *filter(None, rivals.split(","))], options.rounds)
    found: dict[str, Any] = {"pairs_per_second": rates, **ratios(rates)}
    dataset = forged(options.folder, options.clips, "raw", options.frame_size)
    config = BenchConfig(strategies=("soft-positive",), batch_size=options.batch_size, rounds=options.rounds, **sizes)
    if options.jpeg:
        pictures = forged(options.folder, options.clips, "jpeg", options.frame_size)
        jpeg = measure(pictures, config)["strategies"]["soft-positive"]
        found["jpeg"] = jpeg
        found["jpeg_of_bare_decode"] = jpeg["loader_pairs_per_second"] / jpeg["bare_decode_pairs_per_second"]
    if options.http:
        found["http_20_ms"] = over_http(dataset, config)
    if options.soak:
        found["soak"] = soak(dataset, options.soak)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
