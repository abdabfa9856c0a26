"""A file of pairs by nearness: each sound with the pictures of its clip's nearest other clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep.dataset import Dataset, check_single
from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.config import NEIGHBOURS_KEY, NeighboursConfig
from avtrain.stages.features import check_has_picture, check_media, features_of, sides_of
from avtrain.stages.nearest import nearest
from avtrain.stages.opened import SPLIT, opened_for, record_of, settings_of


def neighbour_pairs(
    dataset_dir: Path | str,
    run: Path | None,
    out: Path,
    config: NeighboursConfig,
    *,
    compare: str = "",
    device: str = "cpu",
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Write pairs of the training clips to the Parquet file `out`; returns how many, and of which similarity.

    Columns: `audio` and `video` (clip ids), `weight` (those of a sound sum to 1) and `similarity`, nearest first; with
    `exact_share`, each sound's own picture comes first. `pairs:FILE:weights=partner` draws among them. `run` is None
    for `by="log-mel"`, which needs none.
    `clips` are those with a neighbour, `without` those that `mutual` leaves without one: no pair has their sound.
    `same_class` is the share of pairs of two clips whose labels in the column `compare` are equal. Errors: UserError,
    also where no pair is left; Interrupted once `stopping()`, with nothing written.
    """
    dataset = Dataset(dataset_dir)
    opened = opened_for(dataset, run, config)
    rows, sides = dataset.rows_of(SPLIT), sides_of(config.by)
    group = np.unique(dataset.groups[rows], return_inverse=True)[1] if config.other_groups else None
    most = len(rows) - (1 if group is None else int(np.bincount(group).max()))
    if config.neighbours > most:
        which = "other training clips" if group is None else "training clips of groups other than the largest"
        raise UserError(
            f"{config.neighbours} neighbours are more than the {most} {which} of {dataset.folder}; use fewer "
            "--neighbours."
        )
    truth = None
    if compare:
        column = dataset.labels(compare)
        check_single(column, compare, "--compare")
        truth = column.values[rows]
    check_has_picture(dataset, rows, "put them in another split")
    check_media(dataset, opened, rows, sides)
    features = features_of(dataset, opened, rows, config, sides, device=device, stopping=stopping)
    arrays = [features[side] for side in sides]
    positions, similarities = nearest(arrays, arrays, config.neighbours, np.arange(len(rows)), group)
    kept = mutual_of(positions) if config.mutual else np.ones(positions.shape, bool)
    if not kept.any():
        raise UserError(f"No two of the {len(rows)} training clips are left as a pair; use more --neighbours.")
    origin = {"command": "neighbours", **settings_of(config), **record_of(opened), "dataset_digest": dataset.digest}
    pairs = pairs_table(np.array(dataset.ids_of(rows).to_pylist(), object), positions, similarities, config, kept)
    with store.atomic_path(out) as temporary:
        pq.write_table(pairs.replace_schema_metadata({NEIGHBOURS_KEY: store.json_text(origin)}), temporary)
    with_pairs = int(kept.any(axis=1).sum())
    made: dict[str, Any] = {"pairs": len(pairs), "clips": with_pairs, "without": len(rows) - with_pairs}
    made["mean_similarity"] = float(similarities[kept].mean())
    if truth is not None:
        made["same_class"] = _of_one_class(truth, positions, kept)
    return made


def mutual_of(positions: np.ndarray) -> np.ndarray:
    """bool [N, k]: which neighbours, at `positions` int64 [N, k], have the clip among their own."""
    own = np.arange(len(positions))[:, None]
    return np.isin(positions * len(positions) + own, own * len(positions) + positions)


def pairs_table(
    ids: np.ndarray, positions: np.ndarray, similarities: np.ndarray, config: NeighboursConfig, kept: np.ndarray
) -> pa.Table:
    """The pairs of clips `ids` [N] with those neighbours at `positions` int64 [N, k] that are `kept` bool [N, k].

    `similarities` are float32 [N, k]. A clip without neighbours has no pair, not even its own picture.
    """
    with_pairs = kept.any(axis=1)
    own = np.flatnonzero(with_pairs)[:, None]
    positions, similarities, kept = positions[with_pairs], similarities[with_pairs], kept[with_pairs]
    weights = kept.astype(float)
    if config.temperature:
        nearest_kept = np.where(kept, similarities, -np.inf).max(axis=1, keepdims=True)
        weights *= np.exp(np.minimum(similarities - nearest_kept, 0).astype(float) / config.temperature)
    weights *= (1 - config.exact_share) / weights.sum(axis=1, keepdims=True)
    if config.exact_share:
        positions = np.concatenate([own, positions], axis=1)
        weights = np.concatenate([np.full(own.shape, config.exact_share), weights], axis=1)
        similarities = np.concatenate([np.ones(own.shape, np.float32), similarities], axis=1)
        kept = np.concatenate([np.ones(own.shape, bool), kept], axis=1)
    return pa.table(
        {
            "audio": pa.array(np.repeat(ids[own], positions.shape[1], axis=1)[kept], pa.string()),
            "video": pa.array(ids[positions[kept]], pa.string()),
            "weight": pa.array(weights[kept]),
            "similarity": pa.array(similarities[kept].astype(np.float32)),
        }
    )


def _of_one_class(labels: np.ndarray, positions: np.ndarray, kept: np.ndarray) -> float | None:
    """The share of pairs of one label, among the neighbours that are `kept` and that both have one."""
    own, others = labels[:, None], labels[positions]
    known = kept & (own >= 0) & (others >= 0)
    return float((own == others)[known].mean()) if known.any() else None
