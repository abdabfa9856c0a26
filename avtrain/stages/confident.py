"""Confident learning: which labels a classifier that has not seen them contradicts beyond each class's own threshold.

Northcutt, Jiang and Chuang 2021, Confident learning: estimating uncertainty in dataset labels (JAIR 70), section 3.
"""

from __future__ import annotations

import numpy as np

from avtrain.stages.verdicts import Verdict


def out_of_sample(
    features: np.ndarray, labels: np.ndarray, fold: np.ndarray, classes: int, inverse_penalty: float = 1.0
) -> np.ndarray:
    """float64 [N, classes]: `probabilities_of` each clip by a classifier fitted on the other folds, `fold` int [N]."""
    made = np.zeros((len(labels), classes))
    for one in np.unique(fold):
        inside = fold == one
        made[inside] = probabilities_of(features[~inside], labels[~inside], features[inside], classes, inverse_penalty)
    return made


def probabilities_of(
    features: np.ndarray, labels: np.ndarray, judged: np.ndarray, classes: int, inverse_penalty: float = 1.0
) -> np.ndarray:
    """float64 [J, classes]: probabilities of features `judged` [J, D] by a logistic regression, 0 of unknown classes.

    It is fitted on `features` [N, D] with `labels` int [N], all of length 1. `inverse_penalty` is scikit-learn's C: its
    own, 1, is a strong penalty on such features; a weak one learns wrong labels by heart.
    """
    from sklearn.linear_model import LogisticRegression

    known, made = np.unique(labels), np.zeros((len(judged), classes))
    if len(known) == 1:
        made[:, known] = 1
        return made
    made[:, known] = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(features, labels).predict_proba(judged)
    return made


def folds_of(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """int64 [N]: the fold of each clip, drawn label by label, so that each label is spread over all of them."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def confident(probabilities: np.ndarray, given: np.ndarray) -> Verdict:
    """The confident class of each clip, its own label `given` int [N] where there is none, with its probability.

    The threshold of a class is the mean probability of it over the clips with that label. The confident class is the
    most probable of those at or above their thresholds.
    """
    counts = np.bincount(given, minlength=probabilities.shape[1])
    own = probabilities[np.arange(len(given)), given]
    sums = np.bincount(given, own, probabilities.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    label = np.where(above.max(axis=1) > 0, above.argmax(axis=1), given).astype(np.int32)
    return Verdict(label, probabilities[np.arange(len(given)), label])
