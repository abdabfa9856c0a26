"""Test clips of classes that no clip to fit on is of: how many, and the accuracy on the others.

No classifier can predict such a class: its probability is 0. The accuracy over all test clips counts them as wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from avtrain.evaluation.metrics import reported_interval
from avtrain.evaluation.multi_label import mean_average_precision_of
from avtrain.evaluation.multi_predictions import MultiPredictions
from avtrain.evaluation.predictions import Predictions

SHOWN_NAMES = 5


def unfitted_of(fit_labels: np.ndarray, test_labels: np.ndarray, class_names: list[str]) -> dict[str, Any]:
    """{"classes": names of the test clips' classes that no fitted clip is of, "clips": test clips of these}."""
    absent = np.setdiff1d(test_labels, fit_labels)
    clips = int(np.isin(test_labels, absent).sum())
    return {"classes": [class_names[label] for label in absent], "clips": clips}


def scores_of_fitted(unfitted: dict[str, Any], predicted: Predictions | MultiPredictions) -> dict[str, Any]:
    """`unfitted_of` and the accuracy on the other test clips with metrics.reported_interval; None without any.

    Of several labels a clip: the mean average precision over the other classes.
    """
    names = set(unfitted["classes"])
    if isinstance(predicted, MultiPredictions):
        fitted = np.array([name not in names for name in predicted.class_names])
        score = None
        if predicted.truth[:, fitted].any():
            score = mean_average_precision_of(predicted.probabilities[:, fitted], predicted.truth[:, fitted])
        return {**unfitted, "fitted_mean_average_precision": score}
    known = np.array([predicted.class_names[label] not in names for label in predicted.label], bool)
    accuracy, interval = None, None
    if known.any():
        accuracy, *interval = reported_interval(predicted.right[known], predicted.clusters[known])
    return {**unfitted, "fitted_clips": int(known.sum()), "fitted_accuracy": accuracy, "fitted_interval_95": interval}


def sentence_of(unfitted: dict[str, Any], test_clips: int) -> str:
    """The result of `unfitted_of` in a sentence; '' where every test class has been fitted."""
    count = len(unfitted["classes"])
    if not count:
        return ""
    classes = "1 class" if count == 1 else f"{count} classes"
    shown = unfitted["classes"][:SHOWN_NAMES] + ([f"and {count - SHOWN_NAMES} more"] if count > SHOWN_NAMES else [])
    return (
        f"{unfitted['clips']:,} of {test_clips:,} test clips are of {classes} without a clip to fit on "
        f"({', '.join(shown)}); no such class can be predicted"
    )
