"""Which runs are of one kind, and which evaluations were made alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avtrain.config import PROTOCOLS
from avtrain.report.gather import CHANGES, IMPORTED, MODELS, NOT_A_KIND, RETRIEVAL, Evaluation, Run

FIRST_NAMED = (CHANGES, "labels", "loss", "batch_size", "accumulate", "learning_rate", "epochs", "max_steps")


@dataclass
class Kind:
    """Runs that differ in nothing but their seed (or fold)."""

    name: str
    runs: list[Run]
    number: int = 0


@dataclass
class Measurement:
    """Evaluations that were made alike, on one dataset (or its folds), by kind of run."""

    name: str
    protocol: str
    by_kind: dict[str, list[tuple[Run, Evaluation]]] = field(default_factory=dict)


def kinds_of(runs: Sequence[Run], datasets: Mapping[str, str], folds: bool) -> list[Kind]:
    """Runs grouped by settings and dataset (whatever dataset where `folds`), in the order given.

    A kind's name is its strategy and as few settings as set the kinds of that strategy apart. `datasets`: names by
    digest.
    """
    keys = [_key(run, folds) for run in runs]
    order = list(dict.fromkeys(keys))
    members = [[run for run, key in zip(runs, keys, strict=True) if key == one] for one in order]
    firsts = [group[0] for group in members]
    names = [_name(run, [other for other in firsts if other.config]) for run in firsts]
    kinds: list[Kind] = []
    for number, (name, group) in enumerate(zip(names, members, strict=True)):
        if names.count(name) > 1:
            name += f" on {dataset_name(group[0].dataset_digest, datasets)}"
        while any(name == kind.name for kind in kinds):
            name += "'"
        kinds.append(Kind(name, group, number))
    return kinds


def _key(run: Run, folds: bool) -> str:
    if run.config:
        settings = {name: value for name, value in run.config.items() if name not in NOT_A_KIND}
    else:
        settings = {"protocol": run.evaluations[0].protocol, **run.evaluations[0].settings}
    return json.dumps([settings, "" if folds or not run.config else run.dataset_digest], sort_keys=True)


def _name(run: Run, others: Sequence[Run]) -> str:
    """The strategy or the imported file, the settings that set it apart from its other kinds, and how many more differ.

    Those named are the first, FIRST_NAMED before others, that are needed to give each kind of the strategy a name of
    its own; "and N more" counts other settings in which this kind differs from the first of them.
    """
    if not run.config:
        return "supervised" if run.evaluations[0].protocol == "supervised" else "untrained"
    alike = [other.config for other in others if _origin(other.config) == _origin(run.config)]
    names = sorted({name for config in alike for name in config} - NOT_A_KIND)
    order = [*(name for name in FIRST_NAMED if name in names), *(name for name in names if name not in FIRST_NAMED)]
    named: list[str] = []
    for name in order:
        if _groups(alike, [*named, name]) > _groups(alike, named):
            named.append(name)
    settings = [f"{name.replace('_', ' ')} {run.config.get(name) or 'none'}" for name in sorted(named)]
    more = [name for name in names if name not in named and run.config.get(name) != alike[0].get(name)]
    return ", ".join([_origin(run.config), *settings]) + (f" and {len(more)} more" if more else "")


def _groups(configs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """How many of `configs` differ in the settings `names`."""
    return len({json.dumps([config.get(name) for name in names]) for config in configs})


def _origin(config: Mapping[str, Any]) -> str:
    return str(config.get("strategy") or f"{IMPORTED} {config.get(f'{IMPORTED} file', '')}".strip())


def dataset_name(digest: str, datasets: Mapping[str, str]) -> str:
    """The dataset's name, or the beginning of its digest."""
    return datasets.get(digest) or (f"dataset {digest[:8]}" if digest else "a dataset")


def measurements_of(kinds: Sequence[Kind], datasets: Mapping[str, str], folds: bool) -> list[Measurement]:
    """Evaluations grouped by protocol, settings and dataset; in the order of protocols, retrieval last."""
    by_key: dict[str, list[tuple[Kind, Run, Evaluation]]] = {}
    for kind in kinds:
        for run in kind.runs:
            for one in run.evaluations:
                where = one.result.get("class_names") if folds else one.dataset_digest
                settings = {k: v for k, v in one.settings.items() if k not in MODELS}
                key = json.dumps([one.protocol, where, settings], sort_keys=True)
                by_key.setdefault(key, []).append((kind, run, one))
    order = [*PROTOCOLS, RETRIEVAL]
    groups = sorted(by_key.values(), key=lambda rows: order.index(rows[0][2].protocol))
    firsts = [rows[0][2] for rows in groups]
    out = []
    for rows, first in zip(groups, firsts, strict=True):
        names = dict.fromkeys(_dataset_of(one, datasets) for _, _, one in rows)
        alike = [other for other in firsts if other.protocol == first.protocol and other is not first]
        differing = sorted(
            {name for other in alike for name, value in first.settings.items() if other.settings.get(name) != value}
        )
        words = [first.protocol, *(f"{name.replace('_', ' ')} {first.settings[name]}" for name in differing)]
        count = len({one.dataset_digest for _, _, one in rows})
        dataset = next(iter(names)) if count == 1 else f"{count} folds"
        measurement = Measurement(f"{', '.join(words)}, {dataset}", first.protocol)
        for kind, run, one in rows:
            measurement.by_kind.setdefault(kind.name, []).append((run, one))
        out.append(measurement)
    return out


def _dataset_of(one: Evaluation, datasets: Mapping[str, str]) -> str:
    return datasets.get(one.dataset_digest) or one.dataset_name or dataset_name(one.dataset_digest, datasets)


def open_datasets(folders: Sequence[Path | str]) -> dict[str, Dataset]:
    """The datasets by digest."""
    return {dataset.digest: dataset for dataset in map(Dataset, folders)}


def name_of(dataset: Dataset) -> str:
    """The name of a dataset's folder."""
    return str(dataset.folder).rstrip("/").rsplit("/", 1)[-1]
