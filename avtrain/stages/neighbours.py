"""A file of pairs for clips without labels: each sound with the pictures of its clip's nearest other clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep.dataset import Dataset, check_single
from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.config import NEIGHBOURS_KEY, NeighboursConfig
from avtrain.stages.features import check_has_picture, check_media, features_of, sides_of
from avtrain.stages.nearest import nearest
from avtrain.stages.opened import SPLIT, open_run


def neighbour_pairs(
    dataset_dir: Path | str,
    run: Path,
    out: Path,
    config: NeighboursConfig,
    *,
    compare: str = "",
    device: str = "cpu",
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Write pairs of the training clips to the Parquet file `out`; returns how many, and of which similarity.

    Columns: `audio` and `video` (clip ids), `weight` (those of a sound sum to 1) and `similarity`, nearest first; with
    `exact_share`, each sound's own picture comes first. `pairs:FILE:weights=partner` draws among them.
    `same_class` is the share of pairs of two clips whose labels in the column `compare` are equal. Errors: UserError;
    Interrupted once `stopping()`, with nothing written.
    """
    dataset = Dataset(dataset_dir)
    opened = open_run(dataset, run, config)
    rows, sides = dataset.rows_of(SPLIT), sides_of(config.by)
    if config.neighbours >= len(rows):
        raise UserError(
            f"{config.neighbours} neighbours are more than the {len(rows) - 1} other training clips of "
            f"{dataset.folder}; use fewer --neighbours."
        )
    labels = None
    if compare:
        column = dataset.labels(compare)
        check_single(column, compare, "--compare")
        labels = column.values[rows]
    check_has_picture(dataset, rows, "put them in another split")
    check_media(dataset, opened, rows, sides)
    features = features_of(dataset, opened, rows, config, sides, device=device, stopping=stopping)
    arrays = [features[side] for side in sides]
    positions, similarities = nearest(arrays, arrays, config.neighbours, np.arange(len(rows)))
    origin = {"command": "neighbours", **opened.identity, **configs.to_dict(config), "weights": opened.weights}
    origin["dataset_digest"] = dataset.digest
    pairs = pairs_table(np.array(dataset.ids_of(rows).to_pylist(), object), positions, similarities, config)
    with store.atomic_path(out) as temporary:
        pq.write_table(pairs.replace_schema_metadata({NEIGHBOURS_KEY: store.json_text(origin)}), temporary)
    made: dict[str, Any] = {"pairs": len(pairs), "clips": len(rows), "mean_similarity": float(similarities.mean())}
    if labels is not None:
        made["same_class"] = _of_one_class(labels, positions)
    return made


def pairs_table(ids: np.ndarray, positions: np.ndarray, similarities: np.ndarray, config: NeighboursConfig) -> pa.Table:
    """The pairs of clips `ids` [N] with their neighbours at `positions` int64 [N, k] of these `similarities`."""
    weights = np.ones(positions.shape)
    if config.temperature:
        weights = np.exp((similarities - similarities.max(axis=1, keepdims=True)).astype(float) / config.temperature)
    weights *= (1 - config.exact_share) / weights.sum(axis=1, keepdims=True)
    if config.exact_share:
        own = np.arange(len(ids))[:, None]
        positions = np.concatenate([own, positions], axis=1)
        weights = np.concatenate([np.full(own.shape, config.exact_share), weights], axis=1)
        similarities = np.concatenate([np.ones(own.shape, np.float32), similarities], axis=1)
    return pa.table(
        {
            "audio": pa.array(np.repeat(ids, positions.shape[1]), pa.string()),
            "video": pa.array(ids[positions.reshape(-1)], pa.string()),
            "weight": pa.array(weights.reshape(-1)),
            "similarity": pa.array(similarities.reshape(-1).astype(np.float32)),
        }
    )


def _of_one_class(labels: np.ndarray, positions: np.ndarray) -> float | None:
    """The share of pairs of neighbours of one label, among those that both have one."""
    own, others = labels[:, None], labels[positions]
    known = (own >= 0) & (others >= 0)
    return float((own == others)[known].mean()) if known.any() else None
