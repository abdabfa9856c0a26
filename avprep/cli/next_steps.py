"""The next useful command after each of avprep: {parameters} are those of the command that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avprep.shared.answers import NextStep
from avprep.shared.urls import is_url


def _after_build(params: Mapping[str, Any]) -> str | None:
    if params["dry_run"]:
        return "avprep build-shards {manifest_file} --out {out}"
    if params["partition"] != "0/1":
        return "avprep finalize {out}"
    return "avtrain plan {out}" if is_url(params["out"]) else "avprep verify {out}"


def _verified(name: str) -> NextStep:
    return lambda params: f"avtrain plan {{{name}}}" if is_url(params[name]) else f"avprep verify {{{name}}}"


def _after_select(params: Mapping[str, Any]) -> str:
    if params["name"] is not None:
        return "avtrain plan {dataset_dir} --strategy soft-positive --labels {name}"
    return "avprep exclude {dataset_dir} --ids {others} --reason quality"


def _after_duplicates(params: Mapping[str, Any]) -> str:
    if params["surplus"] is not None:
        return "avprep exclude {dataset_dir} --ids {surplus} --reason duplicate"
    return "avprep duplicates {dataset_dir} --out {out} --page duplicates.html"


USE_COLUMN = "avtrain plan {dataset_dir} --strategy soft-positive --labels {name}"
NEXT: dict[str, NextStep] = {
    "manifest": "avprep build-shards {out} --out my-data --dry-run",
    "demo": "avprep build-shards {out_dir}/manifest.csv --out my-data",
    "build-shards": _after_build,
    "finalize": _verified("dataset_dir"),
    "append": lambda params: (
        "avprep append {dataset_dir} {manifest_file}" if params["dry_run"] else "avprep verify {dataset_dir}"
    ),
    "merge": _verified("out"),
    "pseudo-label": lambda params: (
        "avtrain plan {dataset_dir} --strategy soft-positive --labels {name}"
        if params.get("name")
        else "avprep inspect {dataset_dir}"
    ),
    "add-labels": lambda params: USE_COLUMN if params.get("name") else "avprep inspect {dataset_dir}",
    "add-noise": lambda params: USE_COLUMN if params.get("name") else "avprep inspect {dataset_dir}",
    "relabel": lambda params: USE_COLUMN if params.get("name") else "avprep inspect {dataset_dir}",
    "split": "avprep inspect {dataset_dir}",
    "exclude": "avprep inspect {dataset_dir}",
    "quality": "avprep select {dataset_dir} --where 'silence < 0.9 and motion > 0.01' --name clean",
    "duplicates": _after_duplicates,
    "select": _after_select,
    "verify": "avprep preview {dataset_dir} --out preview.html",
    "inspect": "avprep preview {dataset_dir} --out preview.html",
    "preview": "avtrain plan {dataset_dir}",
    "card": "avprep publish {dataset_dir} hf://datasets/ORG/NAME",
    "publish": None,
    "doctor": None,
    "completion": None,
}
