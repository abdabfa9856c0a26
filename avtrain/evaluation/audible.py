"""What is audible: the test clips whose own label is, and predictions of any label that is.

In sets such as VGGSound the label of some clips is not audible, and in many clips others are. A multi-label column
(`avprep add-labels --multi`) names the audible ones. Scores by it are beside the accuracy and change nothing in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from avprep.dataset import Dataset, LabelColumn
from avprep.shared.errors import UserError
from avtrain.evaluation.metrics import reported_interval
from avtrain.evaluation.predictions import Predictions


def audible_classes(dataset: Dataset, name: str, rows: np.ndarray, own: LabelColumn) -> np.ndarray:
    """bool [rows, classes]: whether the class is audible in the clip by the multi-label column `name`.

    `own` has the clips' own labels and the classes. An empty list: nothing is. Names that are no class are left out.
    Errors: UserError where there is no such column, where it is without one of the clips, or has the own label of none
    of them.
    """
    lists, number_of = dataset.label_lists(name), {label: number for number, label in enumerate(own.class_names)}
    missing = [dataset.clip_ids[row] for row in rows if lists[row] is None]
    if missing:
        raise UserError(
            f"The column {name!r} of {dataset.folder} has no row for {len(missing)} of {len(rows)} test clips, such as "
            f"{missing[0]!r}; give those in which nothing is audible an empty list, and take the others out by 'avprep "
            "exclude'."
        )
    audible = np.zeros((len(rows), len(number_of)), bool)
    for of_clip, row in zip(audible, rows, strict=True):
        of_clip[[number_of[label] for label in lists[row] or () if label in number_of]] = True
    if not audible[np.arange(len(rows)), own.values[rows]].any():
        raise UserError(
            f"The column {name!r} of {dataset.folder} has the own label of none of the test clips; its names must be "
            f"those of the classes, such as {own.class_names[0]!r}."
        )
    return audible


def audible_scores(audible: np.ndarray, predictions: Predictions) -> dict[str, Any]:
    """`audible` of result.json, from audible_classes [N, C] and the predictions of the same clips.

    `accuracy` is over the `clips` whose own label is audible; `hit` is the share of predictions that are among the
    clip's audible labels, over the `hit_clips` that have some. Intervals are metrics.reported_interval's.
    """
    each = np.arange(len(audible))
    own, some = audible[each, predictions.label], audible.any(axis=1)
    accuracy, low, high = reported_interval(predictions.right[own], predictions.clusters[own])
    hit, hit_low, hit_high = reported_interval(audible[each, predictions.predicted][some], predictions.clusters[some])
    return {
        "clips": int(own.sum()),
        "accuracy": accuracy,
        "interval_95": [low, high],
        "hit_clips": int(some.sum()),
        "hit": hit,
        "hit_interval_95": [hit_low, hit_high],
    }
