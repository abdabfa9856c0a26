"""Rates of contestants in turns, each in a process of its own: none inherits another's threads, locks, start method or
shared memory, and one that waits for its turn runs nothing.

A contestant is `python -m tests.bench.contest JSON`: it prepares what it needs, says a line, and then measures once and
says pairs a second for each line that it reads.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avtrain.data.bench import BenchConfig, bare_ways, loader_seconds, plan_batches, recipe_of
from tests.bench.rival import Rival
from tests.bench.rivals import RIVALS
from tests.train.forge import Forged, forge_dataset

CLASSES, SECONDS, FRAME_SIZE = 8, 10.0, 112
OURS = ("ours", "bare_preadv", "bare_preadv_one_thread", "memcpy")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What all share: `batches` are those of ours and of the limits; a rival takes what it can in `seconds`."""

    folder: str
    clips: int = 400
    batch_size: int = 309
    batches: int = 100
    seconds: float = 12.0
    threads: int = 2
    frame_size: int = FRAME_SIZE
    window_frames: int = 0
    frame_stride: int = 1
    audio_seconds: float = 0.0


def prepared(folder: Path, make: Callable[[Path], Any]) -> Path:
    """`folder`, made if it is not there; half a preparation does not stay."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        make(part)
        if part.exists():
            part.rename(folder)
    return folder


def forged(folder: Path, clips: int, codec: str, frame_size: int = FRAME_SIZE) -> Dataset:
    """The samples, in our format."""
    every = [Forged(f"c{number % CLASSES}", seconds=SECONDS) for number in range(clips)]
    name = f"{codec}-{clips}" + ("" if frame_size == FRAME_SIZE else f"-{frame_size}px")
    return Dataset(prepared(folder / name, lambda part: forge_dataset(part, every, 32, codec, frame_size, 128)))


def turns(contest: Contest, names: list[str], rounds: int) -> dict[str, float]:
    """Median pairs a second by contestant, from `rounds` rounds in which each has its turn."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    forged(Path(contest.folder), contest.clips, "raw", contest.frame_size)
    with ExitStack() as stack:
        running = {name: stack.enter_context(_contestant(contest, name)) for name in names}
        for number in range(rounds):
            for name, rate in running.items():
                taken[name].append(rate())
                print(f"round {number} {name}: {taken[name][-1]:,.0f}", file=sys.stderr, flush=True)
    return {name: statistics.median(rates) for name, rates in taken.items()}


@contextmanager
def _contestant(contest: Contest, name: str) -> Iterator[Callable[[], float]]:
    """A function that lets the contestant have its turn and returns its rate. Errors: RuntimeError naming it."""
    command = [sys.executable, "-m", "tests.bench.contest", json.dumps({"name": name, **dataclasses.asdict(contest)})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to, back = process.stdin, process.stdout

        def said() -> str:
            line = back.readline()
            if not line:
                raise RuntimeError(f"{name} ended with {process.wait()}.")
            return line

        def rate() -> float:
            print(file=to, flush=True)
            return float(said())

        said()
        yield rate
        to.close()


def way_of(contest: Contest, name: str) -> Callable[[], float]:
    """What measures the contestant once: pairs a second."""
    folder = Path(contest.folder)
    dataset = forged(folder, contest.clips, "raw", contest.frame_size)
    if name in OURS:
        config = BenchConfig(
            batch_size=contest.batch_size,
            batches=contest.batches,
            threads=contest.threads,
            window_frames=contest.window_frames,
            frame_stride=contest.frame_stride,
            audio_seconds=contest.audio_seconds,
        )
        seconds = our_way(dataset, config, name)
        return lambda: contest.batches * contest.batch_size / seconds()
    rival = next(rival for rival in RIVALS if rival.name == name)
    place = folder / f"{name}-{contest.clips}"
    prepared(place, lambda part: rival.prepare(dataset, part))
    return lambda: rival_rate(rival, dataset, place, contest)


def our_way(dataset: Dataset, config: BenchConfig, name: str) -> Callable[[], float]:
    """What measures ours or a limit once: seconds for all batches."""
    recipe = recipe_of(dataset, "soft-positive", config)
    ring = 2 * config.prefetch + 2
    if name == "ours":
        return lambda: loader_seconds(recipe, config, ring)
    return bare_ways(recipe, plan_batches(recipe, ring, config.batches), config.threads)[name]


def rival_rate(rival: Rival, dataset: Dataset, place: Path, contest: Contest) -> float:
    """Pairs a second of as many batches as it takes in the time given, after two to start its workers."""
    size = rival.batch_size or contest.batch_size
    with closing(rival.batches(dataset, place, size)) as batches:
        for _ in range(2):
            next(batches)
        taken, begin = 0, time.perf_counter()
        while (passed := time.perf_counter() - begin) < contest.seconds:
            next(batches)
            taken += 1
        return taken * size / passed


def main(settings: dict[str, Any]) -> None:
    """Be one contestant; what libraries print goes to stderr."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    name = settings.pop("name")
    rate = way_of(Contest(**settings), name)
    print("ready", file=out, flush=True)
    for _ in sys.stdin:
        print(rate(), file=out, flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
