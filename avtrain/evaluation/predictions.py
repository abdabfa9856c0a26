"""What a run predicts of each test clip, as a Parquet file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep.shared import store
from avprep.shared.errors import UserError
from avprep.shared.values import texts

FILE = "predictions.parquet"
NAMES_KEY = b"class_names"
COLUMNS = ("clip_id", "label", "predicted", "probabilities")
CLUSTER = "cluster"
GROUP = "group"  # its name in files of before


@dataclass(frozen=True)
class Predictions:
    """One row a test clip: ids, true and predicted class int32 [N], probabilities float32 [N, C], class names.

    `clusters` int64 [N]: equal numbers for clips that vary together; a file without them has each clip as its own.
    """

    clip_ids: list[str]
    label: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    class_names: list[str]
    clusters: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """bool [N]: is the predicted class the true one?"""
        return self.predicted == self.label


def predictions_of(
    clip_ids: list[str],
    label: np.ndarray,
    probabilities: np.ndarray,
    class_names: list[str],
    clusters: np.ndarray | None = None,
) -> Predictions:
    """Predictions whose predicted class is the most probable; without `clusters`, each clip is its own."""
    stored, label = probabilities.astype(np.float32), label.astype(np.int32)
    clusters = np.arange(len(label)) if clusters is None else clusters.astype(np.int64)
    return Predictions(clip_ids, label, stored.argmax(1).astype(np.int32), stored, class_names, clusters)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `predictions` atomically: clip_id, label, predicted, probabilities (a list), cluster; names as metadata."""
    classes = len(predictions.class_names)
    table = pa.table(
        [
            pa.array(predictions.clip_ids, pa.string()),
            pa.array(predictions.label, pa.int32()),
            pa.array(predictions.predicted, pa.int32()),
            pa.FixedSizeListArray.from_arrays(pa.array(predictions.probabilities.reshape(-1), pa.float32()), classes),
            pa.array(predictions.clusters, pa.int64()),
        ],
        names=[*COLUMNS, CLUSTER],
    ).replace_schema_metadata({NAMES_KEY: store.json_text(predictions.class_names)})
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
        known = [name for name in (CLUSTER, GROUP) if name in table.column_names]
        clusters = table.column(known[0]).to_numpy() if known else np.arange(table.num_rows)
        probabilities = columns[3].flatten().to_numpy().reshape(table.num_rows, len(texts(names, "class_names")))
        for column in columns[1:3]:
            if column.null_count or ((column.to_numpy() < 0) | (column.to_numpy() >= len(names))).any():
                raise ValueError("a class has no name")
    except (pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} holds no predictions ({error}); 'avtrain evaluate' writes them.") from None
    label, predicted = columns[1].to_numpy(), columns[2].to_numpy()
    return Predictions(columns[0].to_pylist(), label, predicted, probabilities, names, clusters)
