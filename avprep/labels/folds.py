"""avprep split: a label column whose classes are folds, for cross-validation; a group is never in two of them.

Groups come by their size, large ones first, and by a hash of seed and name among equals. Each goes to the fold that has
least of its classes, by shares of each class, which is the greedy rule of scikit-learn's StratifiedGroupKFold. Where a
column of the same settings is made again, its groups keep their folds and only those that have come since are placed:
growth moves no clip.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avprep import schema
from avprep.dataset import Dataset, LabelColumn
from avprep.errors import UserError
from avprep.labels.columns import NONE, OF_THE_CLIPS, claim_column, write_labels
from avprep.labels.multi_label import read_origin
from avprep.shared.configs import check
from avprep.shared.draw import FOLDS, fractions
from avprep.shared.errors import some_of

UNITS = ("group", "clip")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folds:
    """Clips of each fold, and how many of all clips kept the fold that they had."""

    sizes: list[int]
    kept: int


def split_folds(
    dataset: Dataset,
    name: str,
    *,
    folds: int,
    by: str = "group",
    labels: str = "label",
    split: str = "",
    seed: int = 0,
    replace: bool = False,
) -> Folds:
    """Write the column `name`, whose classes `0` to `folds - 1` are folds of the clips of `split` (empty: of all).

    `by`: `group`, of the manifest, or `clip`, each on its own. Classes are those of the column `labels`. Errors:
    UserError where there are fewer groups than folds, no such column or split, or another column of this name.
    """
    check(folds >= 2, f"folds must be 2 or more, not {folds}.")
    check(by in UNITS, f"by must be one of {', '.join(UNITS)}, not {by!r}.")
    settings = {"command": "split", "folds": folds, "by": by, "labels": labels, "split": split, "seed": seed}
    rows = dataset.rows_of(split) if split else np.arange(len(dataset))
    column = dataset.labels(labels)
    origin = claim_column(dataset, name, settings, replace)
    names = dataset.group_names if by == "group" else np.array(dataset.clip_ids)
    if len(set(names[rows].tolist())) < folds:
        raise UserError(
            f"{dataset.folder} has clips of {len(set(names[rows].tolist()))} {by}s, too few for {folds} folds."
        )
    old = _folds_of(dataset, name, settings)
    if origin is None:
        values = dataset.labels(name).values
        return Folds(np.bincount(values[values >= 0], minlength=folds).tolist(), int((values >= 0).sum()))
    before = {} if old is None else {str(names[row]): int(old[row]) for row in rows if old[row] >= 0}
    values = np.full(len(dataset), NONE, np.int32)
    values[rows] = balanced(names[rows], column.values[rows], folds, seed, before)
    _warn(column, rows, values, folds, by)
    write_labels(dataset, name, LabelColumn(values, [str(fold) for fold in range(folds)]), origin)
    kept = 0 if old is None else int(np.count_nonzero((old >= 0) & (old == values)))
    return Folds(np.bincount(values[rows], minlength=folds).tolist(), kept)


def balanced(names: np.ndarray, labels: np.ndarray, folds: int, seed: int, before: Mapping[str, int]) -> np.ndarray:
    """The fold of each clip, int32 [N], of its group's name str [N] and label [N] (-1: none, which counts as a class).

    Groups in `before` keep the fold that they have there. Cost: a few microseconds a group.
    """
    groups, group = np.unique(names, return_inverse=True)
    _, label = np.unique(labels, return_inverse=True)
    total = np.bincount(label).astype(np.float64)
    cells, clips = np.unique(np.stack([group, label], axis=1), axis=0, return_counts=True)
    bounds = np.searchsorted(cells[:, 0], np.arange(len(groups) + 1))
    given = np.array([before.get(name, NONE) for name in groups.tolist()], np.int32)
    order = np.lexsort((fractions(groups.tolist(), seed, FOLDS), -np.bincount(group), given < 0))
    counts, sizes = np.zeros((folds, len(total))), np.zeros(folds)
    for at in order.tolist():
        mine = slice(bounds[at], bounds[at + 1])
        classes, number = cells[mine, 1], clips[mine]
        if given[at] < 0:
            cost = (counts[:, classes] * (number / total[classes] ** 2)).sum(axis=1)
            given[at] = np.lexsort((sizes, cost))[0]
        counts[given[at], classes] += number
        sizes[given[at]] += number.sum()
    return given[group]


def _folds_of(dataset: Dataset, name: str, settings: Mapping[str, object]) -> np.ndarray | None:
    """The folds that a column of the same settings gives each clip; None where there is none."""
    path = dataset.local_folder / schema.labels_path(name)
    if not path.exists():
        return None
    origin = {key: value for key, value in read_origin(path).items() if key not in OF_THE_CLIPS}
    return dataset.labels(name).values if origin == dict(settings) else None


def _warn(column: LabelColumn, rows: np.ndarray, values: np.ndarray, folds: int, by: str) -> None:
    """Warn of classes that some folds have no clip of."""
    labels = column.values[rows]
    cells = np.unique(np.stack([labels, values[rows]], axis=1)[labels >= 0], axis=0)
    there = np.bincount(cells[:, 0], minlength=len(column.class_names))
    few = [one for number, one in enumerate(column.class_names) if 0 < there[number] < folds]
    if few:
        log.warning(
            "%d of %d classes are not in every fold, since their clips are of too few %ss: %s",
            len(few),
            len(column.class_names),
            by,
            some_of(few),
        )
