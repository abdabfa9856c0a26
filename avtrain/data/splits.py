"""Which clips train, which validate and which test: `set_aside` for pretraining, `split_rows` for a classifier.

Labels and groups of the dataset's index go in, rows come out; no media is read, and warnings go to the log. A group
(source video, speaker, location ...) is never on two sides, except where `released` repeats the authors' split. Which
side it is on is its own hash with the seed (avprep/shared/draw.py): other clips do not move it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from avprep.dataset import Dataset, LabelColumn
from avprep.dataset.joined import JoinedDataset
from avprep.shared.draw import VALIDATION, fewest, fractions
from avprep.shared.errors import UserError, some_of
from avtrain.config import SOUNDS_ALONE, PretrainConfig
from avtrain.data.plans import table_of
from avtrain.sampling import ClipTable, Strategy

RELEASED_SEED, RELEASED_SHARE = 1, 0.2
FAR_OFF = 2.0  # times the share that was asked for, which a few groups may come to

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Dataset rows int64 for fitting, for choosing, for the one test."""

    fit: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(
    dataset: Dataset,
    *,
    how: str = "auto",
    share: float = 0.2,
    label_fraction: float = 1.0,
    seed: int = 0,
    column: LabelColumn | None = None,
) -> Split:
    """Rows to fit, choose and test on.

    `auto`: the dataset's own val split chooses where it has one, else as `group`; `group`: about `share` of the train
    split chooses, by group (held_out); `released`: a fifth of the train split's clips, whatever their groups and
    classes, by the hash of their ids with seed 1, exactly a fifth as in the paper. `label_fraction` of the clips to fit
    on keep their labels; those that choose stay as they are. `column` replaces the manifest's labels; a clip
    with -1 there is in no part, nor is one whose labels a multi-label column does not know. There `label_fraction`
    takes the first label of each clip for its class. Errors: UserError where groups are too few, or a part is empty.
    """
    labels = column or LabelColumn(dataset.label, dataset.class_names)

    def rows_of(name: str) -> np.ndarray:
        rows = dataset.rows_of(name)
        if column is None:
            return rows
        rows = rows[column.known[rows]]
        if not len(rows):
            raise UserError(f"No {name} clip of {dataset.folder} has a label in this column; choose another --labels.")
        return rows

    rows, test = rows_of("train"), rows_of("test")
    if how == "auto" and "val" in dataset.splits:
        fit, validation = rows, rows_of("val")
    elif how == "released":
        order = np.argsort(fractions(_ids(dataset, rows), RELEASED_SEED, VALIDATION))
        kept = round((1 - RELEASED_SHARE) * len(rows))
        fit, validation = rows[np.sort(order[-kept:])], rows[np.sort(order[:-kept])]
    else:
        held = _held_out(dataset, table_of(rows, labels), labels.class_names, share, seed)
        fit, validation = rows[~held], rows[held]
    if label_fraction < 1:
        ids = np.array(_ids(dataset, fit))
        fit = fit[fewest(labels.values[fit], ids, dataset.group_names[fit], label_fraction, seed)]
    return Split(fit, validation, test)


def set_aside(dataset: Dataset, table: ClipTable, labels: str, share: float, seed: int) -> tuple[ClipTable, ClipTable]:
    """(clips to train on, clips to validate on) of a train split's table; none to validate on is an empty table.

    The val split, if there is one, leaves `table` whole. Else about `share` of the clips of each label goes, by group
    of the manifest (held_out): no group is on both sides, clips without label of a group that goes are on
    neither. Errors: UserError where groups are too few.
    """
    if "val" in dataset.splits:
        aside = table_of(dataset.rows_of("val"), dataset.labels(labels))
        if isinstance(dataset, JoinedDataset):
            _warn_of_common_groups(dataset, table, aside)
        return table, aside.take((dataset.num_frames[aside.rows] > 0) & (aside.labels >= 0))
    labelled, held = table.labels >= 0, np.zeros(len(table), bool)
    if share == 0:
        return table, table.take(held)
    class_names = dataset.labels(labels).class_names
    held[labelled] = _held_out(dataset, table.take(labelled), class_names, share, seed)
    groups = dataset.group_names[table.rows]
    return table.take(~np.isin(groups, groups[held])), table.take(held)


def _warn_of_common_groups(dataset: JoinedDataset, table: ClipTable, aside: ClipTable) -> None:
    """Warn of clips to validate on whose group one of several datasets has in its train split."""
    groups = dataset.group_names
    common = np.isin(groups[aside.rows], groups[table.rows])
    if common.any():
        log.warning(
            "%d of %d clips to validate on are of groups that are trained on, %s: where these are the same clips or "
            "speakers, validation scores are too high",
            np.count_nonzero(common),
            len(aside),
            some_of(np.unique(groups[aside.rows][common]).tolist()),
        )


def clips_to_validate_on(dataset: Dataset, aside: ClipTable, strategy: Strategy, config: PretrainConfig) -> ClipTable:
    """The clips of `aside` (set_aside) that a run is validated on: those whose label its strategy does not withhold.

    None where the loss trains no picture encoder. Errors: UserError where --val-share holds clips back for nothing.
    """
    table = strategy.known_table(aside, config.seed)
    known = np.full(len(aside), config.loss != SOUNDS_ALONE) & (table.labels >= 0)
    if config.val_share and "val" not in dataset.splits and not known.any():
        raise UserError(
            f"Strategy {config.strategy} withholds the labels of all clips that --val-share holds back, so there is "
            "nothing to validate on; leave --val-share out."
        )
    return table.take(known)


def _held_out(dataset: Dataset, table: ClipTable, class_names: list[str], share: float, seed: int) -> np.ndarray:
    """`held_out` of a table's clips, with its warnings; one of several labels is of each of these classes.

    Errors: UserError where groups are too few.
    """
    labels, clip = _each_label(table)
    held = held_out(labels, dataset.group_names[table.rows[clip]], share, seed) if len(clip) else np.zeros(0, bool)
    if not held.any():
        raise UserError(f"{dataset.folder} has too few groups of clips to hold some out for validation.")
    warn_of(class_names, labels, held, share)
    out = np.zeros(len(table), bool)
    out[clip] = held
    return out


def _each_label(table: ClipTable) -> tuple[np.ndarray, np.ndarray]:
    """(label, position in the table), int [M], of each label of each clip; -1 once where a clip has none."""
    if table.lists is None:
        return table.labels, np.arange(len(table))
    none = np.flatnonzero(table.lists.sizes == 0)
    labels = np.concatenate([table.lists.values, np.full(len(none), -1, np.int32)])
    return labels, np.concatenate([table.lists.clips, none])


def _ids(dataset: Dataset, rows: np.ndarray) -> list[str]:
    clip_ids = dataset.clip_ids
    return [clip_ids[row] for row in rows]


def held_out(labels: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool [N]: the clips of those groups (str [N]) whose hash is below `share`.

    Very few groups need more than a threshold. A class in two or more is on both sides: where none of them is below,
    the one with the lowest hash is held out, unless groups that it shares with others forbid it; where all are, or
    several that come to twice the share, the highest stay. A class in one group is never held out. Only where these
    rules act can a clip be moved by others beside it. Cost: a sort of the groups.
    """
    _, label = np.unique(labels, return_inverse=True)
    names, group = np.unique(groups, return_inverse=True)
    number = fractions(map(str, names.tolist()), seed, VALIDATION)
    cells, clips = np.unique(np.stack([label, group], axis=1), axis=0, return_counts=True)
    rising = np.lexsort((number[cells[:, 1]], cells[:, 0]))
    bounds = np.searchsorted(cells[rising, 0], np.arange(1, label.max() + 1))
    of_class = list(zip(np.split(cells[rising, 1], bounds), np.split(clips[rising], bounds), strict=True))
    held = number < share
    for its, sizes in of_class:
        for at in its[::-1]:
            mine = held[its]
            several = mine.sum() > 1 and sizes[mine].sum() > FAR_OFF * share * sizes.sum()
            if not (several or mine.all()):
                break
            held[at] = False
    left = np.array([np.count_nonzero(~held[its]) for its, _ in of_class])
    classes = np.split(*_by_group(cells, len(names)))
    for its, _ in of_class:
        able = [] if held[its].any() else [at for at in its if (left[classes[at]] > 1).all()]
        if able:
            held[able[0]] = True
            left[classes[able[0]]] -= 1
    return held[group]


def _by_group(cells: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """(classes in the order of their groups, where each group but the first begins), of cells [class, group]."""
    order = np.argsort(cells[:, 1], kind="stable")
    return cells[order, 0], np.searchsorted(cells[order, 1], np.arange(1, groups))


def warn_of(class_names: list[str], labels: np.ndarray, held: np.ndarray, share: float) -> None:
    """Warn of classes of which no clip is held out, and where `held` bool [N] is far from `share`."""
    known = np.unique(labels[labels >= 0])
    missing = [class_names[one] for one in np.setdiff1d(known, labels[held])]
    if missing:
        log.warning(
            "%d of %d classes have no clip to choose by, since their clips are of too few groups: %s",
            len(missing),
            len(known),
            some_of(missing),
        )
    if not share / FAR_OFF <= held.mean() <= share * FAR_OFF:
        log.warning(
            "%d of %d training clips are held out to choose by, %.0f %% in place of %.0f %%: each group is drawn by "
            "itself, and they are few or large",
            np.count_nonzero(held),
            len(held),
            100 * held.mean(),
            100 * share,
        )
