"""Official folds: one is the test split, another may be the val split, the others are for training."""

from __future__ import annotations

from collections.abc import Callable

from avprep.datasets.adapter import Option
from avprep.errors import ManifestError


def fold_options(count: int) -> tuple[Option, Option]:
    """--test-fold and --val-fold of a dataset with `count` folds."""
    return (
        Option(
            flag="--test-fold", kind="number", required=True, help=f"The fold that is the test split, 1 to {count}."
        ),
        Option(flag="--val-fold", kind="number", help="A fold that is the val split; default: none."),
    )


def splits_of_folds(count: int, test_fold: int, val_fold: int | None) -> Callable[[str], str]:
    """The split of a fold as the metadata has it: train, val, test, or a name that is no split for an unknown fold.

    Errors: ManifestError where there is no such fold, or one is both.
    """
    for option, fold in (("--test-fold", test_fold), ("--val-fold", val_fold)):
        if fold is not None and fold > count:
            raise ManifestError(f"{option} {fold} is not one of the {count} folds; give 1 to {count}.")
    if test_fold == val_fold:
        raise ManifestError(f"--val-fold {val_fold} is the test fold already; give another one.")
    known = {str(fold): "train" for fold in range(1, count + 1)}
    known |= {str(test_fold): "test"} | ({} if val_fold is None else {str(val_fold): "val"})
    return lambda fold: known.get(fold, f"fold {fold}" if fold else "")
