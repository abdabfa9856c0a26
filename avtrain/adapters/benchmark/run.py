"""Task by task: what has run is kept in OUT/tasks, and results.csv and results.html grow with it."""

from __future__ import annotations

import csv
import difflib
import importlib.metadata
import math
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avprep.shared import configs, store
from avprep.shared.errors import UserError, some_of
from avprep.shared.own_code import code_of, import_own
from avprep.shared.processes import map_processes
from avtrain.adapters.benchmark.clips import is_manifest, own_clips
from avtrain.adapters.benchmark.jobs import run_job, suite_module
from avtrain.adapters.benchmark.page import write_page
from avtrain.adapters.benchmark.settings import Job, Score, Settings
from avtrain.adapters.inputs import weights_sha256
from avtrain.inference import load_encoder, load_video_encoder
from avtrain.inference.fetched import encoder_folder

BENCHMARK, TABLE, PAGE = "benchmark.json", "results.csv", "results.html"
TASKS, WORK, LOGS = "tasks", "work", "logs"
COLUMNS = ("suite", "task", "metric", "score", "further", "run", "step", "side", "weights_sha256", "version", "seconds")
PACKAGES = {"mteb": "mteb", "xares": "xares", "hear": "heareval"}


@dataclass(frozen=True)
class Outcome:
    """The results of all tasks in the folder, in order of their names, and why others have none."""

    results: list[dict[str, Any]]
    failures: dict[str, str]


def benchmark(
    run: Path | str, out: Path, names: Sequence[str], settings: Settings, stopping: Callable[[], bool] = lambda: False
) -> Outcome:
    """Run those tasks that have not run into the folder `out`, each in a process of its own, and write its tables.

    A name is one of the suite's, `package:name` of the user's, or the path of a manifest. `settings.run` is replaced by
    the folder of `run`. A task that fails is named in the outcome, with its log in OUT/logs, and the others go on.
    Errors: UserError (no such run, suite package or task; a folder of another encoder or version); Interrupted once
    `stopping()`: the running task is lost.
    """
    settings = replace(settings, run=str(encoder_folder(run).resolve()), data=_folder(settings.data))
    suite = suite_module(settings.suite)
    _check_side(settings, suite.SIDES)
    identity = _identity(settings)
    tasks = _checked(names, suite, settings)
    configs.claim(out / BENCHMARK, identity, "benchmark")
    failures: dict[str, str] = {}
    with store.folder_lock(out, "running a benchmark in"):
        for task in tasks:
            job = _job(out.resolve(), task, settings)
            path = out / TASKS / f"{job.work.name}.json"
            if path.exists() and store.read_json(path)["digest"] == job.digest:
                continue
            shutil.rmtree(job.work, ignore_errors=True)
            (score,) = _scores(job, stopping)
            if score.failure:
                failures[task] = f"{score.failure}; see {job.log}"
                continue
            store.write_json(path, _result(identity, task, job.digest, score))
            shutil.rmtree(job.work, ignore_errors=True)
            write_tables(out, failures)
        results = write_tables(out, failures)
    return Outcome(results, failures)


def _scores(job: Job, stopping: Callable[[], bool]) -> Iterable[Score]:
    return map_processes(run_job, [job], 1, stopping)


def write_tables(out: Path, failures: dict[str, str]) -> list[dict[str, Any]]:
    """The results in OUT/tasks, after writing results.csv and results.html of them."""
    results = [store.read_json(path) for path in sorted((out / TASKS).glob("*.json"))]
    with store.atomic_path(out / TABLE) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in results:
            further = "; ".join(f"{name} {value:.6g}" for name, value in one["further"].items())
            writer.writerow([further if name == "further" else one[name] for name in COLUMNS])
    write_page(out / PAGE, store.read_json(out / BENCHMARK), results, failures)
    return results


def _identity(settings: Settings) -> dict[str, Any]:
    """What all results of a folder have in common. Errors: UserError where the run has no such encoder."""
    both = settings.side == "both"
    projection = True if both else settings.projection
    loaders: dict[str, Callable[..., Any]] = {"audio": load_encoder, "video": load_video_encoder}
    wanted = list(loaders) if both else [settings.side]
    encoders = [loaders[one](settings.run, "cpu", settings.weights, projection=projection) for one in wanted]
    description = encoders[0].description
    return {
        "suite": settings.suite,
        "version": importlib.metadata.version(PACKAGES[settings.suite]),
        "run": description.training["run"],
        "step": description.training["step"],
        "side": settings.side,
        "projection": description.projection,
        "weights": settings.weights,
        "weights_sha256": weights_sha256(encoders),
    }


def _result(identity: dict[str, Any], task: str, digest: str, score: Score) -> dict[str, Any]:
    further = {name: value for name, value in score.further.items() if math.isfinite(value)}
    measured = {"metric": score.metric, "score": score.value, "further": further, "seconds": round(score.seconds)}
    return {**identity, "task": task, "digest": digest, **measured}


def _check_side(settings: Settings, sides: Sequence[str]) -> None:
    if settings.side not in sides:
        raise UserError(f"--suite {settings.suite} takes sounds alone; leave --side {settings.side} out.")
    if settings.suite != "mteb" and settings.projection:
        raise UserError(f"--suite {settings.suite} takes the encoder's own features; leave --projection out.")


def _folder(data: str) -> str:
    if data and not Path(data).is_dir():
        raise UserError(f"{data} is no folder; give the one that holds the suite's task data as --data.")
    return str(Path(data).resolve()) if data else ""


def _checked(names: Sequence[str], suite: Any, settings: Settings) -> list[str]:
    """The tasks that the names mean, each once. Errors: UserError for a name that is none."""
    known: list[str] = []
    for name in names:
        if is_manifest(name):
            own_clips(Path(name), validation=settings.suite != "mteb")
        elif ":" in name:
            import_own(name, "a task of your own", "class" if settings.suite == "mteb" else "function")
        else:
            if settings.suite == "hear" and not settings.data:
                raise UserError("--suite hear reads task folders; give the folder that holds them as --data.")
            known = known or suite.known(settings)
            if name not in known:
                raise UserError(_unknown(name, known, settings))
            if settings.suite == "xares" and not settings.data:
                raise UserError("--suite xares reads audio tars; give the folder that holds them as --data.")
    if not names:
        raise UserError(f"Give --tasks: {some_of(suite.known(settings), 20) or 'a manifest'}.")
    return list(dict.fromkeys(task for name in names for task in suite.expanded(name, settings)))


def _unknown(name: str, known: list[str], settings: Settings) -> str:
    where = f"--suite {settings.suite} has no task {name!r}"
    if settings.suite == "hear":
        where += f" below {settings.data}"
    elif settings.suite == "mteb":
        where += f" for --side {settings.side}"
    folded = {one.casefold(): one for one in known}
    near = [folded[one] for one in difflib.get_close_matches(name.casefold(), list(folded), 3)]
    if near:
        return f"{where}; did you mean {' or '.join(map(repr, near))}?"
    return f"{where}; there are {some_of(known, 8)}." if known else f"{where}; give a folder that holds some."


def _job(out: Path, task: str, settings: Settings) -> Job:
    """The job of a task. A manifest counts by its bytes, code of the user's by those of its file."""
    if is_manifest(task):
        digest, task = store.sha256(Path(task)), str(Path(task).resolve())
        slug = f"{Path(task).stem}-{digest[:8]}"
    else:
        kind = "class" if settings.suite == "mteb" else "function"
        digest = code_of(task, import_own(task, "a task", kind)).digest if ":" in task else ""
        slug = task
    slug = re.sub(r"[^\w.-]+", "_", slug)
    return Job(settings, task, digest, out / WORK / slug, out / LOGS / f"{slug}.log")
