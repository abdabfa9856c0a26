"""What a run said of each test clip, as a Parquet file, and the comparison of two such files."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.metrics import accuracy_interval
from avtrain.significance import mcnemar, paired_bootstrap

FILE = "predictions.parquet"
NAMES_KEY = b"class_names"
COLUMNS = ("clip_id", "label", "predicted", "probabilities")


@dataclass(frozen=True)
class Predictions:
    """One row a test clip: ids, true and predicted class int32 [N], probabilities float32 [N, C], class names."""

    clip_ids: list[str]
    label: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    class_names: list[str]

    @property
    def right(self) -> np.ndarray:
        """bool [N]: is the predicted class the true one?"""
        return self.predicted == self.label


def predictions_of(
    clip_ids: list[str], label: np.ndarray, probabilities: np.ndarray, class_names: list[str]
) -> Predictions:
    """Predictions whose predicted class is the most probable."""
    stored = probabilities.astype(np.float32)
    return Predictions(clip_ids, label.astype(np.int32), stored.argmax(1).astype(np.int32), stored, class_names)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `predictions` atomically: clip_id, label, predicted, probabilities (a list a row); names as metadata."""
    classes = len(predictions.class_names)
    table = pa.table(
        [
            pa.array(predictions.clip_ids, pa.string()),
            pa.array(predictions.label, pa.int32()),
            pa.array(predictions.predicted, pa.int32()),
            pa.FixedSizeListArray.from_arrays(pa.array(predictions.probabilities.reshape(-1), pa.float32()), classes),
        ],
        names=list(COLUMNS),
    ).replace_schema_metadata({NAMES_KEY: json.dumps(predictions.class_names, ensure_ascii=False)})
    with store.atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """The predictions in a file of write_predictions. Errors: UserError where it is missing or something else."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; 'avtrain evaluate' writes one beside result.json.")
    try:
        table = pq.read_table(path)
        names = json.loads(table.schema.metadata[NAMES_KEY])
        columns = [table.column(name).combine_chunks() for name in COLUMNS]
        probabilities = columns[3].flatten().to_numpy().reshape(table.num_rows, len(names))
    except (pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} holds no predictions ({error}); 'avtrain evaluate' writes them.") from None
    return Predictions(columns[0].to_pylist(), columns[1].to_numpy(), columns[2].to_numpy(), probabilities, names)


def compare(first: Path, second: Path, seed: int = 0) -> dict[str, Any]:
    """Accuracies of two prediction files, their difference (second minus first) and McNemar's test.

    Clips are matched by id, in any order. Errors: UserError where the files tell of other clips, classes or labels.
    """
    one, two = read_predictions(first), read_predictions(second)
    place = {clip_id: row for row, clip_id in enumerate(two.clip_ids)}
    if len(place) != len(two.clip_ids) or len(one.clip_ids) != len(place) or set(one.clip_ids) != set(place):
        raise UserError(f"{first} and {second} tell of different test clips; compare runs on one dataset.")
    order = np.array([place[clip_id] for clip_id in one.clip_ids], np.int64)
    if one.class_names != two.class_names or not np.array_equal(one.label, two.label[order]):
        raise UserError(f"{first} and {second} give the same clips other labels; compare runs on one dataset.")
    right = one.right, two.right[order]
    difference, low, high = paired_bootstrap(*right, seed=seed)
    return {
        "clips": len(order),
        "first": list(accuracy_interval(right[0])),
        "second": list(accuracy_interval(right[1])),
        "difference": difference,
        "difference_95": [low, high],
        "mcnemar": dataclasses.asdict(mcnemar(*right)),
    }
