"""Which clips train a classifier, which choose its epoch and rate, which test it. Pure: labels and groups in, rows out.

A group (source video, speaker, location ...) is never on two sides, except where `released` repeats the authors' split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avprep.dataset import Dataset
from avprep.shared.errors import UserError

RELEASED_SEED, RELEASED_SHARE = 1, 0.2


@dataclass(frozen=True)
class Split:
    """Dataset rows int64 for fitting, for choosing, for the one test."""

    fit: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(
    dataset: Dataset, *, how: str = "auto", share: float = 0.2, label_fraction: float = 1.0, seed: int = 0
) -> Split:
    """Rows to fit, choose and test on.

    `auto`: the dataset's own val split chooses where it has one, else as `group`; `group`: `share` of the train split
    chooses, by group, stratified by class; `released`: a fifth of the train split's clips, whatever their groups and
    classes, drawn with seed 1 as in the paper. `label_fraction` of the clips to fit on keep their labels; those that
    choose stay as they are. Errors: UserError where groups are too few.
    """
    rows, test = dataset.rows_of("train"), dataset.rows_of("test")
    if how == "auto" and "val" in dataset.splits:
        fit, validation = rows, dataset.rows_of("val")
    elif how == "released":
        order = np.random.RandomState(RELEASED_SEED).permutation(len(rows))
        kept = round((1 - RELEASED_SHARE) * len(rows))
        fit, validation = rows[np.sort(order[:kept])], rows[np.sort(order[kept:])]
    else:
        held = held_out(dataset.label[rows], dataset.groups[rows], share, seed)
        if not held.any():
            raise UserError(f"{dataset.folder} has too few groups of clips to hold some out for validation.")
        fit, validation = rows[~held], rows[held]
    if label_fraction < 1:
        fit = fit[labelled(dataset.label[fit], dataset.groups[fit], label_fraction, seed)]
    return Split(fit, validation, test)


def held_out(labels: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool [N]: clips of whole groups such that about `share` of each class is among them.

    Groups are visited in a random order; one is held out if that brings the classes' shares closer to `share` (summed
    squares). A class in two groups or more is on both sides unless groups that it shares with others forbid it; a
    class in one group is never held out. Cost: linear in clips.
    """
    _, label = np.unique(labels, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    size = np.bincount(label).astype(float)
    cells, clips = np.unique(np.stack([group, label], axis=1), axis=0, return_counts=True)
    bounds = np.searchsorted(cells[:, 0], np.arange(1, group.max() + 1))
    classes = np.split(cells[:, 1], bounds)  # of each group
    parts = np.split(clips / size[cells[:, 1]], bounds)  # the share of each of them that the group holds
    missing = np.full(len(size), share)  # of each class, still to be held out
    left = np.bincount(cells[:, 1])  # groups of each class not held out
    held = np.zeros(len(classes), bool)

    def worse(at: int) -> float:
        return float(np.sum(parts[at] * (parts[at] - 2 * missing[classes[at]])))

    def hold(at: int) -> None:
        held[at] = True
        missing[classes[at]] -= parts[at]
        left[classes[at]] -= 1

    order = np.random.default_rng([seed, 0xE7A1]).permutation(len(classes))
    for at in order:
        if worse(at) < 0 and (left[classes[at]] > 1).all():
            hold(at)
    turn = np.argsort(order)
    for one in range(len(size)):
        if missing[one] == share:  # no group of it is held out
            able = [at for at in cells[cells[:, 1] == one, 0] if (left[classes[at]] > 1).all()]
            if able:
                hold(min(able, key=lambda at: (worse(at), turn[at])))
    return held[group]


def labelled(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """int64 positions, in order, of `fraction` of the clips of each class (rounded, at least one).

    Clips are taken group by group in a random order, as somebody who labels whole recordings would, the last group in
    part; a smaller fraction of one seed is part of a larger one.
    """
    draw = np.random.default_rng([seed, 0xF8AC])
    names, group = np.unique(groups, return_inverse=True)
    order = np.lexsort((draw.permutation(len(labels)), draw.permutation(len(names))[group]))
    chosen = []
    for one in np.unique(labels):
        clips = order[labels[order] == one]
        chosen.append(clips[: max(1, round(fraction * len(clips)))])
    return np.sort(np.concatenate(chosen))
