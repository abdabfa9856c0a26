"""A dataset as one turn of a cross-validation has it: one fold of a label column tests, the other folds train."""

from __future__ import annotations

import copy

import numpy as np

from avprep.dataset import Dataset, check_single
from avprep.shared.errors import UserError

TRAIN, TEST, NEITHER = "train", "test", "neither"


def folded(dataset: Dataset, column: str, fold: str) -> Dataset:
    """`dataset`, whose splits are by the fold column: `test` is the class `fold` of it, `train` all others.

    Clips without a fold are in neither. An empty `column` leaves the splits of the manifest. Errors: UserError where
    there is no such column or fold, or no other fold to train on.
    """
    if not column:
        return dataset
    folds = dataset.labels(column)
    check_single(folds, column, "--fold-column")
    if fold not in folds.class_names:
        raise UserError(
            f"Column {column!r} of {dataset.folder} has no fold {fold!r}; its folds are {', '.join(folds.class_names)}."
        )
    test, known = folds.values == folds.class_names.index(fold), folds.values >= 0
    if not test.any() or test[known].all():
        raise UserError(
            f"Fold {fold!r} of column {column!r} has {'every' if test.any() else 'no'} clip; choose another."
        )
    view = copy.copy(dataset)
    view.splits = [TRAIN, TEST] + ([] if known.all() else [NEITHER])
    view.split = np.where(test, 1, np.where(known, 0, 2)).astype(dataset.split.dtype)
    return view
