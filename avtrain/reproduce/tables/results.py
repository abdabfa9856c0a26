"""What the finished steps of a table came to, beside what is published: plain values, from which pages are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avtrain.evaluation.metrics import mean_interval
from avtrain.reproduce.tables import published
from avtrain.reproduce.tables.matrix import Matrix, Step
from avtrain.reproduce.tables.settings import SUPERVISED
from avtrain.runs import folder as run_folder

KEPT = ("accuracy", "interval_95", "test_clips", "fit_clips", "validation_clips", "epoch")


def gathered(whole: Matrix) -> dict[str, Any]:
    """All figures of a table, as JSON values; what is not done yet is None.

    `rows`: in their order, with a figure for each column; `losses`: for each run its mean loss an epoch.
    """
    names = [*(row.name for row in whole.settings.rows), SUPERVISED]
    rows = [{"row": name, "figures": [_figure(whole, name, *column) for column in columns_of(whole)]} for name in names]
    return {
        "table": whole.settings.table,
        "settings": configs.to_dict(whole.settings),
        "settings_digest": configs.digest(configs.to_dict(whole.settings)),
        "seeds": list(whole.site.seeds),
        "steps": {"done": sum(step.is_done for step in whole.steps), "all": len(whole.steps)},
        "rows": rows,
        "losses": [_losses(whole, *column) for column in whole.runs],
        "datasets": {name: _clips(whole.manifests[name], step) for name, step in whole.datasets.items()},
        "left_out": whole.left_out,
    }


def columns_of(whole: Matrix) -> list[tuple[str, str]]:
    """(dataset, column) of the table, datasets that were not given too."""
    return [(name, one.name) for name, task in whole.settings.tasks.items() for one in task.columns]


def _figure(whole: Matrix, row: str, dataset: str, column: str) -> dict[str, Any]:
    """One figure of the table. A supervised one is in the first column of its dataset."""
    if row == SUPERVISED:
        first = whole.settings.tasks[dataset].columns[0].name
        column, shown = SUPERVISED, column == first
    else:
        shown = True
    cells = [cell for cell in whole.cells if (cell.row, cell.dataset, cell.column) == (row, dataset, column)]
    of_paper = published.accuracy(whole.settings.table, row, dataset, column) if shown else None
    seeds = [_measured(cell.step) | {"seed": cell.seed} for cell in cells if shown and cell.step.is_done]
    mean, low, high = _mean(seeds) if len(seeds) == len(cells) and seeds else (None, None, None)
    return {
        "dataset": dataset,
        "column": column,
        "accuracy": mean,
        "interval_95": None if low is None else [low, high],
        "published": of_paper,
        "published_interval_95": None if of_paper is None else list(published.interval(of_paper, dataset)),
        "seeds": seeds,
    }


def _mean(seeds: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """(accuracy, low, high): of one seed its own interval, over test clips; of several Student's, over seeds."""
    if len(seeds) == 1:
        return seeds[0]["accuracy"], *seeds[0]["interval_95"]
    mean, half = mean_interval([one["accuracy"] for one in seeds])
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _measured(step: Step) -> dict[str, Any]:
    return {**_result(step.ends_with), "digest": step.digest}


@cache
def _result(path: Path) -> dict[str, Any]:
    """What is kept of a result.json, which never changes once it is there."""
    result = store.read_json(path)
    return {name: result[name] for name in KEPT}


def _losses(whole: Matrix, row: str, seed: int) -> dict[str, Any]:
    """The mean loss of each epoch of a run, as far as it has come, and what was logged of such a run."""
    step = whole.runs[row, seed]
    logged = published.LOGS.get(row) if whole.settings.table == published.LOGGED_TABLE else None
    return {
        "row": row,
        "seed": seed,
        "log_batch": math.log(step.settings["batch_size"]),
        "epochs": run_folder.losses_by_epoch(step.folder),
        "done": step.is_done,
        "logged_first": logged and logged.first,
        "logged_last": logged and logged.last,
        "logged_epochs": logged and published.LOGGED_EPOCHS,
    }


def _clips(manifest: Step, dataset: Step) -> dict[str, Any] | None:
    """Clips of a finished dataset by split, and how many had no file or could not be used."""
    if not dataset.is_done:
        return None
    data = Dataset(dataset.folder)
    report = manifest.ends_with.with_suffix(".report.json")
    failures = dataset.folder / "failures.jsonl"
    return {
        "clips": {split: len(data.rows_of(split)) for split in data.splits},
        "without_file": len(store.read_json(report)["missing"]) if report.exists() else 0,
        "failed": failures.read_bytes().count(b"\n") if failures.exists() else 0,
    }
