"""Which test clips an evaluation predicts right and wrong, matched to the rows of its dataset."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset
from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.evaluation.compare import predictions_path
from avtrain.evaluation.multi_predictions import MultiPredictions, read_any_predictions
from avtrain.evaluation.predictions import Predictions
from avtrain.report.gather import RESULT


@dataclass(frozen=True)
class Judged:
    """An evaluation: its folder, result.json, predictions of N test clips, and their rows int64 [N] of the dataset."""

    folder: Path
    result: dict[str, Any]
    predictions: Predictions
    rows: np.ndarray

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        return self.predictions.class_names

    @cached_property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float32 [N] of the predicted class and of the true one."""
        clips, predicted = np.arange(len(self.rows)), self.predictions
        return (
            predicted.probabilities[clips, predicted.predicted],
            predicted.probabilities[clips, predicted.label],
        )

    @cached_property
    def wrong(self) -> np.ndarray:
        """Positions int64 of the clips that are predicted wrong, by how much more probable that class is, worst first.

        Of equals, the first in the file comes first.
        """
        positions = np.flatnonzero(~self.predictions.right)
        predicted, true = self.shares
        return positions[np.argsort(-(predicted - true)[positions], kind="stable")]

    def pair_of(self, position: int) -> tuple[int, int]:
        """(true, predicted) class of a clip."""
        return int(self.predictions.label[position]), int(self.predictions.predicted[position])


def read_judged(given: Path, dataset: Dataset, evaluation: str | None = None) -> Judged:
    """The evaluation that a run, a folder of `avtrain evaluate` or a predictions.parquet holds.

    Errors: UserError where there is none, several and no word which, or one that has not ended; where it is of another
    dataset, or has several labels a clip; where result.json and predictions.parquet differ.
    """
    path = _predictions_path(given, evaluation)
    folder = path.parent
    if not (folder / RESULT).is_file():
        raise UserError(_not_ended(folder))
    result = store.read_json(folder / RESULT)
    predicted = read_any_predictions(path)
    if isinstance(predicted, MultiPredictions):
        raise UserError(f"{folder} is of clips with several labels, which have no one true class; name another one.")
    if not predicted.clip_ids:
        raise UserError(f"{path} holds no test clips; run 'avtrain evaluate' on a dataset with a test split.")
    _check_result(result, predicted, folder)
    return Judged(folder, result, predicted, _rows(result, predicted, dataset, folder))


def _predictions_path(given: Path, evaluation: str | None) -> Path:
    """As `compare.predictions_path`, with a word on evaluations that have no predictions, or none yet."""
    begun = {path.parent for path in given.glob("eval/*/config.json")} if given.is_dir() else set()
    chosen = {folder for folder in begun if evaluation in (None, folder.name)}
    ready = {folder for folder in chosen if (folder / RESULT).is_file()}
    if chosen and not ready:
        raise UserError(_not_ended(min(chosen)))
    if not any(given.glob("eval/*/predictions.parquet")) and ready:
        names = ", ".join(sorted(folder.name for folder in ready))
        raise UserError(
            f"{given} holds no predictions of classes ({names} has none); 'avtrain evaluate DIR --run {given}' makes "
            "some."
        )
    return predictions_path(given, evaluation)


def _not_ended(folder: Path) -> str:
    return f"The evaluation {folder} has not ended; wait for 'avtrain evaluate' to end, or run it again."


def _check_result(result: dict[str, Any], predicted: Predictions, folder: Path) -> None:
    """UserError where the predictions do not give the accuracy and confusion matrix of result.json, to the last bit."""
    classes = len(predicted.class_names)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (predicted.label, predicted.predicted), 1)
    same = result.get("accuracy") == float(predicted.right.mean())
    if not same or result.get("confusion", counts.tolist()) != counts.tolist():
        raise UserError(
            f"{folder / RESULT} and its predictions.parquet are of two evaluations; move the folder away and run "
            "'avtrain evaluate' again."
        )


def _rows(result: dict[str, Any], predicted: Predictions, dataset: Dataset, folder: Path) -> np.ndarray:
    """The rows int64 of the test clips. Errors: UserError where the dataset is another."""
    digest = result.get("dataset_digest")
    row_of = {clip_id: row for row, clip_id in enumerate(dataset.clip_ids)}
    grown = digest != dataset.digest and dataset.changes_since(digest) is None
    if grown or not all(clip_id in row_of for clip_id in predicted.clip_ids):
        raise UserError(
            f"{folder} was made on the dataset {str(digest)[:8]}, and {dataset.folder} is {dataset.digest[:8]}; give "
            "--data the one that was evaluated."
        )
    return np.array([row_of[clip_id] for clip_id in predicted.clip_ids], np.int64)
