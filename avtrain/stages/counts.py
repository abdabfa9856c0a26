"""What became of labels: kept, changed, set aside, added, class by class, and how many of each are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from avprep.dataset import Dataset, check_single
from avprep.shared.errors import UserError

KINDS = ("kept", "changed", "set_aside", "added", "without")
UNKNOWN = -2  # a true class that the labels do not have: no label is right


def truth_of(dataset: Dataset, compare: str, class_names: list[str]) -> np.ndarray:
    """int32 [rows]: the labels of the column `compare` by the numbers of `class_names`; -1 none, -2 another class.

    Errors: UserError where there is no such column, or no class in common.
    """
    column = dataset.labels(compare)
    check_single(column, compare, "--compare")
    number_of = {name: number for number, name in enumerate(class_names)}
    numbers = np.array([*(number_of.get(name, UNKNOWN) for name in column.class_names), -1], np.int32)
    if not (numbers[:-1] >= 0).any():
        raise UserError(f"The column {compare!r} has no class of the labels; name another by --compare.")
    return numbers[column.values]


def counts_of(
    given: np.ndarray, new: np.ndarray, class_names: list[str], by: str, truth: np.ndarray | None = None
) -> dict[str, Any]:
    """Clips by what became of their label, from `given` to `new` int [N]: `kept`, `changed`, `set_aside`, `added`,
    `without` (before and after); `per_class` the same by class, of the given label or (`by` new) of the new one.

    With `truth` (truth_of), `right` has the share of right labels: `given` and `new` of all that have one, `kept`,
    `changed`, `added` of the new ones, `set_aside` of the labels that were taken away; None where there are none.
    """
    had, has = given >= 0, new >= 0
    masks = {
        "kept": had & has & (given == new),
        "changed": had & has & (given != new),
        "set_aside": had & ~has,
        "added": ~had & has,
        "without": ~had & ~has,
    }
    classes = new if by == "new" else given
    counts: dict[str, Any] = {"clips": len(given)}
    counts |= {kind: int(mask.sum()) for kind, mask in masks.items()}
    counts["per_class"] = [
        {"class": name, **{kind: int((masks[kind] & (classes == label)).sum()) for kind in KINDS[:-1]}}
        for label, name in enumerate(class_names)
    ]
    if truth is not None:
        shares = {kind: _share(given if kind == "set_aside" else new, truth, masks[kind]) for kind in KINDS[:-1]}
        counts["right"] = {"given": _share(given, truth, had), **shares, "new": _share(new, truth, has)}
    return counts


def _share(labels: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float | None:
    """The share of `labels` that are right among the clips of `mask` whose true label is known."""
    chosen = mask & (truth != -1)
    return float((labels[chosen] == truth[chosen]).mean()) if chosen.any() else None
