"""Where every run begins: at a path or URL, and with `--seeds 0-4` several that differ by their seed alone."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from avprep.shared.errors import UserError
from avprep.shared.signals import stop_on_signals
from avtrain.config import CACHE_BYTES, PretrainConfig
from avtrain.data.cache import cache_for
from avtrain.data.several import Given
from avtrain.devices import device_for, read_threads_of, set_threads
from avtrain.distributed import read_ranks
from avtrain.runs import folder as run_folder
from avtrain.runs.exit_status import refusal_recorded
from avtrain.runs.remote import at_hand
from avtrain.training.course import course_of
from avtrain.training.pretrain import PretrainResult, pretrain
from avtrain.training.setup import make_ready

MOST_SEEDS = 1000


def pretrain_runs(
    dataset: Given,
    run: Path | str,
    settings: Mapping[str, Any],
    *,
    seeds: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    cache: Path | None = None,
    cache_bytes: int = CACHE_BYTES,
    read_threads: int | None = None,
    log: Sequence[str] = (),
    quiet: bool = False,
    change: bool = False,
    deterministic: bool | None = None,
    profile: int = 0,
    stopping: Callable[[], bool] | None = None,
    check: Callable[[], None] = lambda: None,
    finished: Callable[[str, PretrainResult], None] = lambda name, result: None,
) -> list[PretrainResult]:
    """Train a run of the PretrainConfig of `settings`, or one for each of `seeds`, also under torchrun.

    Once `stopping()`, or where that is None once a signal asks for it, the run stops after a checkpoint. `check`
    is called first, and what it raises is recorded as a refusal; `finished` is called on the first rank with the name
    and result of each run. Errors: as `pretrain`; TypeError for a setting that PretrainConfig does not have.
    """
    ranks = read_ranks(os.environ)
    results = []
    with at_hand(run, ranks.rank) as hand, refusal_recorded(hand.folder, ranks, hand.status):
        check()
        if seeds is not None and ranks.world_size > 1:
            raise UserError("--seeds is for one process; under torchrun start a run for each --seed.")
        if seeds is not None and profile:
            raise UserError("--profile is for one run; leave --seeds out, or profile a run of one --seed.")
        runs = runs_of(hand.folder, PretrainConfig(**settings), seeds)
        set_threads(threads)
        kept = cache_for(dataset, cache, cache_bytes)
        if seeds is not None:
            check_runs(dataset, runs, device, change)
            run_folder.clear_exit(hand.folder)
        with stop_on_signals(patient=True) if stopping is None else nullcontext() as request:
            for folder, config in runs.items():
                result = pretrain(
                    dataset,
                    folder,
                    config,
                    device=device,
                    ranks=ranks,
                    cache=kept,
                    read_threads=read_threads_of(read_threads, ranks.local_world_size),
                    stopping=stopping or (lambda: bool(request)),
                    opened=hand.put,
                    saved=hand.begin_put,
                    log=log,
                    quiet=quiet,
                    change=change,
                    deterministic=deterministic,
                    profile=profile,
                )
                results.append(result)
                if ranks.rank == 0:
                    hand.put()
                    finished(hand.shown(folder), result)
    return results


def seeds_of(text: str) -> list[int]:
    """Seeds in the order of `text`, such as 0-4 or 0,2,5. Errors: UserError where it names none, or one twice."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + MOST_SEEDS:
            raise UserError(f"--seeds {text} names no seeds in {part!r}; write 0-4 or 0,2,5.")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text} names a seed twice; name each once.")
    return seeds


def runs_of(run: Path, config: PretrainConfig, seeds: str | None) -> dict[Path, PretrainConfig]:
    """The config of each run folder: RUN/seed-N for each of `seeds`, else RUN itself. Errors: UserError."""
    if seeds is None:
        return {run: config}
    return {run / f"seed-{seed}": dataclasses.replace(config, seed=seed) for seed in seeds_of(seeds)}


def check_runs(dataset: Given, runs: Mapping[Path, PretrainConfig], device: str = "auto", change: bool = False) -> None:
    """Raise the UserError that any of `runs` would before its first update; nothing is written."""
    device = device_for(device)
    for parent in {run.parent for run in runs}:
        if (parent / run_folder.CONFIG).exists():
            raise UserError(f"{parent} is a run itself; choose another folder for runs of several seeds.")
    for run, config in runs.items():
        ready = make_ready(dataset, run, config, device=device)
        course_of(run, ready, config, change)
        run_folder.check_folder(run, ready.identity)
