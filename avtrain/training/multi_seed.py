"""Runs that differ by their seed alone: `--seeds 0-4`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from avprep.shared.errors import UserError
from avtrain.config import PretrainConfig
from avtrain.devices import device_for
from avtrain.runs import folder as run_folder
from avtrain.training.resume import course_of
from avtrain.training.setup import make_ready

MOST_SEEDS = 1000


def seeds_of(text: str) -> list[int]:
    """Seeds in the order of `text`, such as 0-4 or 0,2,5. Errors: UserError where it names none, or one twice."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
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


def check_runs(
    dataset: Path | str, runs: Mapping[Path, PretrainConfig], device: str = "auto", change: bool = False
) -> None:
    """Raise the UserError that any of `runs` would before its first update; nothing is written."""
    device_for(device)
    for parent in {run.parent for run in runs}:
        if (parent / run_folder.CONFIG).exists():
            raise UserError(f"{parent} is a run itself; choose another folder for runs of several seeds.")
    for run, config in runs.items():
        ready = make_ready(dataset, run, config)
        course_of(run, ready, config, change)
        run_folder.check_folder(run, ready.identity)
