"""Probabilities of each test clip where clips have any number of labels, as a Parquet file; or those of one label."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep.shared import store
from avprep.shared.errors import UserError
from avprep.shared.values import texts
from avtrain.evaluation.predictions import CLUSTER, NAMES_KEY, Predictions, read_predictions

LABELS = "labels"
COLUMNS = ("clip_id", LABELS, "probabilities", CLUSTER)


@dataclass(frozen=True)
class MultiPredictions:
    """One row a test clip: ids, labels bool [N, C], probabilities float32 [N, C], class names, clusters int64 [N]."""

    clip_ids: list[str]
    truth: np.ndarray
    probabilities: np.ndarray
    class_names: list[str]
    clusters: np.ndarray


def write_multi_predictions(path: Path, predicted: MultiPredictions) -> None:
    """Write predictions atomically: clip_id, labels (a list of classes), probabilities (a list), cluster; names too."""
    ends = np.append(0, np.cumsum(predicted.truth.sum(axis=1))).astype(np.int32)
    classes = pa.array(np.nonzero(predicted.truth)[1], pa.int32())
    probabilities = pa.array(predicted.probabilities.astype(np.float32).reshape(-1), pa.float32())
    table = pa.table(
        [
            pa.array(predicted.clip_ids, pa.string()),
            pa.ListArray.from_arrays(pa.array(ends, pa.int32()), classes),
            pa.FixedSizeListArray.from_arrays(probabilities, len(predicted.class_names)),
            pa.array(predicted.clusters, pa.int64()),
        ],
        names=list(COLUMNS),
    ).replace_schema_metadata({NAMES_KEY: store.json_text(predicted.class_names)})
    with store.atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_any_predictions(path: Path) -> Predictions | MultiPredictions:
    """The predictions in a file, of one label a clip or of several. Errors: UserError as read_predictions."""
    try:
        several = path.is_file() and LABELS in pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        several = False
    if not several:
        return read_predictions(path)
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
        names = texts(json.loads(table.schema.metadata[NAMES_KEY]), "class_names")
        ids, labels, probabilities, clusters = (table.column(name).combine_chunks() for name in COLUMNS)
        shape = table.num_rows, len(names)
        truth = np.zeros(shape, bool)
        sizes = pc.list_value_length(labels).to_numpy(zero_copy_only=False)
        truth[np.repeat(np.arange(table.num_rows), sizes), labels.flatten().to_numpy()] = True
        values = probabilities.flatten().to_numpy().reshape(shape)
    except (pa.ArrowException, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path} holds no predictions ({error}); 'avtrain evaluate' writes them.") from None
    return MultiPredictions(ids.to_pylist(), truth, values, names, clusters.to_numpy())
