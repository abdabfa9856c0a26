"""One task of one suite, run in a process of its own: suites change folders, threads and environments as they like."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avprep.shared.errors import UserError, first_line
from avtrain.adapters.benchmark.settings import Job, Score

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
SUITES = {
    "mteb": ("avtrain.adapters.benchmark.with_mteb", ("mteb",)),
    "xares": ("avtrain.adapters.benchmark.with_xares", ("xares",)),
    "hear": ("avtrain.adapters.benchmark.with_hear", ("heareval", "pytorch_lightning", "sed_eval", "torchinfo")),
}
"""the module of each suite and the packages that it needs; its extra has the name of the suite"""
INSTALL = {
    "mteb": "pip install 'avprep-avtrain[mteb]'",
    "xares": "pip install 'avprep-avtrain[xares]'",
    "hear": "pip install 'avprep-avtrain[hear]', then pip install --no-deps heareval",
}


def suite_module(suite: str) -> Any:
    """The module that runs a suite's tasks. Errors: UserError where a package that it needs is missing."""
    name, packages = SUITES[suite]
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--suite {suite} needs {package}: {INSTALL[suite]}.")
    return importlib.import_module(name)


def run_job(job: Job) -> Score:
    """The score of a task, or its failure; what the suite prints goes to the job's log."""
    job.work.mkdir(parents=True, exist_ok=True)
    if not job.settings.download:
        os.environ.update(OFFLINE)
    begin = time.monotonic()
    with _printing_to(job.log), _in_folder(job.work):
        from avtrain.devices import set_threads

        set_threads(job.settings.threads)
        try:
            score: Score = suite_module(job.settings.suite).run_task(job)
        except UserError as error:
            return Score(failure=str(error).rstrip("."))
        except Exception as error:  # a suite fails in as many ways as it has libraries; other tasks still run
            import traceback

            traceback.print_exc()
            return Score(failure=_failure(error, job))
    if not math.isfinite(score.value):
        return Score(failure=f"its {score.metric} is {score.value}, which is no result")
    return Score(score.metric, score.value, score.further, time.monotonic() - begin)


def _failure(error: Exception, job: Job) -> str:
    line = f"{type(error).__name__}: {first_line(error)[:300]}".rstrip(".")
    offline = "offline" in line.casefold() and not job.settings.download
    return f"{line}; --download fetches data" if offline else line


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Send both streams of this process to the file `log`, those of libraries in C too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    saved = [os.dup(number) for number in (1, 2)]
    with contextlib.ExitStack() as open_files:
        file = open_files.enter_context(open(log, "wb"))
        text = open_files.enter_context(open(log, "a", encoding="utf-8", buffering=1))
        open_files.enter_context(contextlib.redirect_stdout(text))
        open_files.enter_context(contextlib.redirect_stderr(text))
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, before in zip((1, 2), saved, strict=True):
                os.dup2(before, number)
                os.close(before)
