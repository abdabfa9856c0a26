"""Rows in stages: half of the updates, then several times partners by the features learnt, and a part of the rest.

A stage reads the run before it and writes a label column or a file of pairs; the next run begins with its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avprep.shared import configs
from avtrain.stages import clean_labels, propagate_labels, write_neighbours

ROUNDS = 3
SKIPPING = "soft-positive:others=skip"

Rule = tuple[str, str]
"""strategy and label column of a run"""


def parts_of(updates: int) -> list[int]:
    """How many updates each run of a row in stages makes: half of all, then ROUNDS parts as equal as can be.

    Errors: UserError where a part would have none.
    """
    configs.check(updates >= 2 * ROUNDS, f"a row in stages needs {2 * ROUNDS} updates or more, not {updates}.")
    least, more = divmod(updates // 2, ROUNDS)
    return [updates - updates // 2, *(least + (number < more) for number in range(ROUNDS))]


def cleaned(dataset: Path, run: Path, labels: str, name: str, by: str = "audio") -> Rule:
    """By the labels that the run's features do not contradict; clips set aside are left out."""
    clean_labels(dataset, run, name, labels=labels, by=by, device="cpu")
    return SKIPPING, name


def cleaned_by_both(dataset: Path, run: Path, labels: str, name: str) -> Rule:
    """As `cleaned`, where sound and picture agree."""
    return cleaned(dataset, run, labels, name, by="cross")


def propagated(dataset: Path, run: Path, labels: str, name: str) -> Rule:
    """By the labels of the nearest labelled sounds, where they agree; clips that get none are left out."""
    propagate_labels(dataset, run, name, labels=labels, by="audio", device="cpu")
    return SKIPPING, name


def neighbours(dataset: Path, run: Path, labels: str, name: str) -> Rule:
    """A sound with the picture of a clip whose sound is near; no label is used."""
    pairs = run.with_name(f"{name}.parquet")
    write_neighbours(dataset, run, pairs, by="audio", device="cpu")
    return f"pairs:{pairs}:weights=partner", labels


STAGES: dict[str, Callable[[Path, Path, str, str], Rule]] = {
    "clean": cleaned,
    "clean by both": cleaned_by_both,
    "propagate": propagated,
    "neighbours": neighbours,
}
"""by name, (dataset, run, its label column, a name for what is written) -> how the next run pairs"""
