"""Rows in stages: a part of the updates, then several times partners by the features learnt, and a part of the rest.

A stage reads the run before it and writes a label column or a file of pairs; the next run begins with its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset
from avprep.shared import configs
from avtrain.stages import clean_labels, cluster_clips, propagate_labels, write_neighbours
from avtrain.stages.features import LEAST_CLIPS

SKIPPING = "soft-positive:others=skip"

Rule = tuple[str, str]
"""strategy and label column of a run"""


def parts_of(updates: int, first: float, rounds: int) -> list[int]:
    """How many updates each run of a row in stages makes: the share `first`, then `rounds` parts as equal as can be.

    Errors: UserError where a part would have none.
    """
    rest = int(updates * (1 - first))
    least, more = divmod(rest, rounds)
    configs.check(least >= 1 and rest < updates, f"{updates} updates are too few for a row of {rounds} stages.")
    return [updates - rest, *(least + (number < more) for number in range(rounds))]


def cleaned(dataset: Path, run: Path | None, labels: str, out: Path, by: str = "audio") -> Rule:
    """By the labels that the features do not contradict; clips set aside are left out."""
    settings: dict[str, Any] = {"by": by} if run is not None else {"by": "log-mel", "neighbours": 5}
    clean_labels(dataset, run, out.name, labels=labels, device="cpu", **settings)
    return SKIPPING, out.name


def segments(dataset: Path) -> dict[str, Any]:
    """By the parts of what sounds; a group's by its own mean and deviation, where groups are of several clips."""
    loaded = Dataset(dataset)
    sizes = np.bincount(loaded.groups[loaded.rows_of("train")])
    return {"by": "log-mel", "segments": 8, "per_group": bool(sizes[sizes > 0].min() >= LEAST_CLIPS)}


def cleaned_by_segments(dataset: Path, run: Path | None, labels: str, out: Path) -> Rule:
    """As `cleaned`, by the parts of what sounds."""
    clean_labels(dataset, None, out.name, labels=labels, device="cpu", neighbours=9, take=0.6, **segments(dataset))
    return SKIPPING, out.name


def cleaned_by_both(dataset: Path, run: Path | None, labels: str, out: Path) -> Rule:
    """As `cleaned`, where sound and picture agree."""
    return cleaned(dataset, run, labels, out, by="cross")


def propagated(dataset: Path, run: Path | None, labels: str, out: Path) -> Rule:
    """By the labels of the nearest labelled sounds, where they agree; clips that get none are left out."""
    propagate_labels(dataset, run, out.name, labels=labels, by=_sounds(run), device="cpu")
    return SKIPPING, out.name


def propagated_by_segments(dataset: Path, run: Path | None, labels: str, out: Path) -> Rule:
    """As `propagated`, by a classifier of the parts of what sounds."""
    classifier: dict[str, Any] = {"method": "confident", "inverse_penalty": 10.0, "take": 0.5}
    propagate_labels(dataset, None, out.name, labels=labels, device="cpu", **classifier, **segments(dataset))
    return SKIPPING, out.name


def neighbours(dataset: Path, run: Path | None, labels: str, out: Path, settings: dict[str, Any] | None = None) -> Rule:
    """A sound with the picture of a clip whose sound is near; without `settings` by no label."""
    pairs = out.with_name(f"{out.name}.parquet")
    write_neighbours(dataset, run, pairs, device="cpu", **{"by": _sounds(run), **(settings or {})})
    return f"pairs:{pairs}:weights=partner", labels


def _sounds(run: Path | None) -> str:
    return "log-mel" if run is None else "audio"


def mutual_neighbours(dataset: Path, run: Path | None, labels: str, out: Path) -> Rule:
    """As `neighbours`, where each sound is among the three nearest of the other; the other clips are left out."""
    return neighbours(dataset, run, labels, out, {"neighbours": 3, "mutual": True})


def clustered(dataset: Path, run: Path | None, labels: str, out: Path) -> Rule:
    """A sound with the picture of any clip of its cluster, by the parts of what sounds; no label is used."""
    cluster_clips(dataset, None, out.name, clusters=30, device="cpu", **segments(dataset))
    return "soft-positive", out.name


def across_groups(dataset: Path, run: Path | None, labels: str, out: Path) -> Rule:
    """As `mutual_neighbours`, of five, in other groups alone, by the parts of what sounds."""
    settings = {"neighbours": 5, "mutual": True, "other_groups": True, **segments(dataset)}
    return neighbours(dataset, None, labels, out, settings)


STAGES: dict[str, Callable[[Path, Path | None, str, Path], Rule]] = {
    "clean": cleaned,
    "clean by both": cleaned_by_both,
    "propagate": propagated,
    "neighbours": neighbours,
    "mutual neighbours": mutual_neighbours,
    "clean by segments": cleaned_by_segments,
    "propagate by segments": propagated_by_segments,
    "across groups": across_groups,
    "cluster": clustered,
}
"""by name, (dataset, run, its label column, a path beside the run for what is written) -> how the next run pairs; all
but "clean by both" may come before the first run, by the log-mel, and those by segments come nowhere else"""
