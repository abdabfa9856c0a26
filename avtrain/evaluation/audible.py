"""What can be heard: the test clips whose own label is audible, and predictions of any label that is.

In sets such as VGGSound some clips do not let their label be heard, and many let others be heard. A multi-label column
(`avprep add-labels --multi`) names the audible ones. Scores by it stand beside the accuracy and change nothing in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from avprep.dataset import Dataset, LabelColumn
from avprep.shared.errors import UserError
from avtrain.evaluation.metrics import reported_interval
from avtrain.evaluation.predictions import Predictions


def audible_classes(dataset: Dataset, name: str, rows: np.ndarray, own: LabelColumn) -> np.ndarray:
    """bool [rows, classes]: can the class be heard in the clip, as the multi-label column `name` says?

    `own` has the clips' own labels and the classes. An empty list: nothing can. Names that are no class are left out.
    Errors: UserError where there is no such column, where it lacks one of the clips, or has the own label of none of
    them.
    """
    lists, place = dataset.label_lists(name), {label: number for number, label in enumerate(own.class_names)}
    lacking = [dataset.clip_ids[row] for row in rows if lists[row] is None]
    if lacking:
        raise UserError(
            f"The column {name!r} of {dataset.folder} has no row for {len(lacking)} of {len(rows)} test clips, such as "
            f"{lacking[0]!r}; give those in which nothing is audible an empty list."
        )
    found = np.zeros((len(rows), len(place)), bool)
    for of_clip, row in zip(found, rows, strict=True):
        of_clip[[place[label] for label in lists[row] or () if label in place]] = True
    if not found[np.arange(len(rows)), own.values[rows]].any():
        raise UserError(
            f"The column {name!r} of {dataset.folder} has the own label of none of the test clips; its names must be "
            f"those of the classes, such as {own.class_names[0]!r}."
        )
    return found


def audible_scores(audible: np.ndarray, found: Predictions) -> dict[str, Any]:
    """What result.json says under `audible`, of audible_classes [N, C] and the predictions of the same clips.

    `accuracy` is over the `clips` whose own label is audible; `hit` is the share of predictions that are among the
    clip's audible labels, over the `hit_clips` that have some. Intervals are metrics.reported_interval's.
    """
    each = np.arange(len(audible))
    own, some = audible[each, found.label], audible.any(axis=1)
    accuracy, low, high = reported_interval(found.right[own], found.clusters[own])
    hit, hit_low, hit_high = reported_interval(audible[each, found.predicted][some], found.clusters[some])
    return {
        "clips": int(own.sum()),
        "accuracy": accuracy,
        "interval_95": [low, high],
        "hit_clips": int(some.sum()),
        "hit": hit,
        "hit_interval_95": [hit_low, hit_high],
    }
