"""Rows in stages: half of the updates, then several times labels by the features learnt so far and a part of the rest.

A stage reads the run before it and writes a label column; the next run begins with that run's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from avprep.shared import configs
from avtrain.stages import clean_labels, propagate_labels

ROUNDS = 3
SKIPPING = "soft-positive:others=skip"
STAGES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "clean": (clean_labels, {"by": "audio"}),
    "clean cross": (clean_labels, {"by": "cross"}),
    "propagate": (propagate_labels, {"by": "cross"}),
}
"""stages by name: the function that writes the column, and its settings"""


def parts_of(updates: int) -> list[int]:
    """How many updates each run of a row in stages makes: half of all, then ROUNDS parts as equal as can be.

    Errors: UserError where a part would have none.
    """
    configs.check(updates >= 2 * ROUNDS, f"a row in stages needs {2 * ROUNDS} updates or more, not {updates}.")
    least, more = divmod(updates // 2, ROUNDS)
    return [updates - updates // 2, *(least + (number < more) for number in range(ROUNDS))]


def column_by(stage: str, dataset: Path, run: Path, labels: str, name: str) -> str:
    """The column `name`, made by `stage` of the column `labels` and a run's features."""
    make, settings = STAGES[stage]
    make(dataset, run, name, labels=labels, device="cpu", **settings)
    return name
