"""The next useful command after each of avtrain: {parameters} are those of the command that has ended."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from avprep.shared.answers import NextStep
from avprep.shared.urls import is_hub, is_url


def _after_pretrain(params: Mapping[str, Any]) -> str | None:
    from avtrain.data.several import sources_of
    from avtrain.distributed import read_ranks

    if read_ranks(os.environ).rank > 0:
        return None
    if params["seeds"]:
        return "avtrain report {run} --out runs.html"
    if len(params["dataset"]) == 1:
        return "avtrain evaluate {dataset} --run {run}"
    first, _ = sources_of(params["dataset"])[0]  # evaluate takes one, without a weight
    return f"avtrain evaluate {shlex.quote(str(first)).replace('{', '{{').replace('}', '}}')} --run {{run}}"


def _after_export(params: Mapping[str, Any]) -> str:
    source = "{target}" if params["target"] else "{out}"
    side = " --side video" if params["side"] == "video" else ""
    return f"avtrain embed my-data --run {source}{side} --out embeddings.parquet"


def _after_evaluate(params: Mapping[str, Any]) -> str | None:
    source = "run" if params["run"] and not is_hub(params["run"]) else "out"
    return None if params[source] is None or is_url(params[source]) else f"avtrain report {{{source}}} --out runs.html"


NEXT: dict[str, NextStep] = {
    "plan": "avtrain pretrain {dataset} --strategy {strategy} --labels {labels} --batch-size {batch_size} --run RUN",
    "pretrain": _after_pretrain,
    "average": "avtrain evaluate my-data --run {run}",
    "import-released": "avtrain evaluate my-data --run {run}",
    "clean-labels": "avtrain plan {dataset} --strategy soft-positive --labels {name}",
    "propagate-labels": "avtrain plan {dataset} --strategy soft-positive --labels {name}",
    "hide-labels": "avtrain plan {dataset} --strategy soft-positive --labels {name}",
    "neighbours": "avtrain plan {dataset} --strategy pairs:{out}:weights=partner",
    "cluster": "avtrain plan {dataset} --strategy soft-positive --labels {name}",
    "evaluate": _after_evaluate,
    "compare": lambda params: "avtrain report {runs} --out runs.html" if params["runs"] else None,
    "report": None,
    "errors": None,
    "embed": None,
    "export": _after_export,
    "benchmark": None,
    "demo": None,
    "reproduce": None,
    "bench": None,
    "doctor": None,
    "completion": None,
}
