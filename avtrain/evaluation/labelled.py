"""What differs by the label column of an evaluation: one label a clip, or a multi-label column of any number."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import LabelColumn, check_single
from avprep.shared import configs
from avtrain.config import EvaluateConfig
from avtrain.data.plans import table_of
from avtrain.evaluation.metrics import classification_scores
from avtrain.evaluation.multi_label import multi_label_scores
from avtrain.evaluation.multi_predictions import MultiPredictions, write_multi_predictions
from avtrain.evaluation.predictions import Predictions, predictions_of, write_predictions
from avtrain.evaluation.unfitted import unfitted_of

AnyPredictions = Predictions | MultiPredictions

WINDOWS_SCORES = ("mean_average_precision", "interval_95", "interval_by", "macro", "micro", "lwlrap")


def check_labels(column: LabelColumn, config: EvaluateConfig) -> None:
    """UserError where the settings need one label a clip and the column has lists."""
    if config.protocol == "knn":
        check_single(column, config.labels, "Protocol knn")
    if config.audible:
        check_single(column, config.labels, "A score of audible labels")


def labels_digest(column: LabelColumn) -> str:
    """Hex sha256 of the labels of all rows."""
    if column.lists is None:
        return configs.digest([column.class_names, column.values.tolist()])
    lists = column.lists
    arrays = (lists.begins.astype("<i8"), lists.values.astype("<i4"), lists.known)
    return configs.digest([column.class_names, *(hashlib.sha256(array.tobytes()).hexdigest() for array in arrays)])


def truth_of(column: LabelColumn, rows: np.ndarray) -> np.ndarray:
    """bool [rows, classes]: the labels of a multi-label column."""
    lists = table_of(rows, column).lists
    assert lists is not None
    return lists.matrix(len(column.class_names))


def unfitted_in(column: LabelColumn, fit: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """unfitted.unfitted_of the clips in the rows `fit` and `test`; a clip counts that has such a label."""
    if column.lists is None:
        return unfitted_of(column.values[fit], column.values[test], column.class_names)
    fitted, truth = table_of(fit, column).groups.labels, truth_of(column, test)
    absent = np.setdiff1d(np.flatnonzero(truth.any(axis=0)), fitted)
    clips = int(truth[:, absent].any(axis=1).sum())
    return {"classes": [column.class_names[label] for label in absent], "clips": clips}


def predictions_by(
    column: LabelColumn, rows: np.ndarray, clip_ids: list[str], probabilities: np.ndarray, clusters: np.ndarray
) -> AnyPredictions:
    """The predictions of the test clips in `rows`, with their labels of the column."""
    if column.lists is None:
        return predictions_of(clip_ids, column.values[rows], probabilities, column.class_names, clusters)
    stored, truth = probabilities.astype(np.float32), truth_of(column, rows)
    return MultiPredictions(clip_ids, truth, stored, column.class_names, clusters.astype(np.int64))


def scores_of(predicted: AnyPredictions, seed: int) -> dict[str, Any]:
    """metrics.classification_scores, or multi_label.multi_label_scores."""
    if isinstance(predicted, MultiPredictions):
        return multi_label_scores(predicted.probabilities, predicted.truth, seed, predicted.clusters)
    return classification_scores(predicted.probabilities, predicted.label, seed, predicted.clusters)


def write_any_predictions(path: Path, predicted: AnyPredictions) -> None:
    """Write the predictions, by their kind."""
    if isinstance(predicted, MultiPredictions):
        write_multi_predictions(path, predicted)
    else:
        write_predictions(path, predicted)
