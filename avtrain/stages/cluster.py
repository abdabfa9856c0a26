"""A label column of clusters: k-means over a run's own features of sounds, of pictures or of both."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset, LabelColumn, check_single
from avprep.labels.clusters import cluster_names, clusters_of
from avprep.labels.columns import claim_column, path_of, write_labels
from avprep.shared.errors import UserError
from avtrain.config import ClusterConfig
from avtrain.stages.features import check_media, features_of, sides_of
from avtrain.stages.opened import SPLIT, opened_for, record_of, settings_of


def cluster_column(
    dataset_dir: Path | str,
    run: Path | None,
    name: str,
    config: ClusterConfig,
    *,
    compare: str = "",
    replace: bool = False,
    device: str = "cpu",
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Write the label column `name` of clusters of a run's features; returns how many clips they have.

    `run` is None for `by="log-mel"`, which needs none.

    They are fitted on the training clips; others get the nearest centre, clips without what is clustered none. A column
    of this very making is left as it is. `mutual_information` is normalised, 0 to 1, between the clusters of training
    clips and the column `compare`. Errors: UserError; Interrupted once `stopping()`, with nothing written.
    """
    dataset = Dataset(dataset_dir)
    opened = opened_for(dataset, run, config)
    sides = sides_of(config.by)
    rows = np.arange(len(dataset)) if sides == ("audio",) else np.flatnonzero(dataset.num_frames > 0)
    fitted = np.isin(rows, dataset.rows_of(SPLIT))
    if config.clusters > fitted.sum():
        raise UserError(
            f"{config.clusters} clusters are more than the {fitted.sum()} training clips of {dataset.folder} to "
            "cluster; use fewer --clusters."
        )
    truth = None
    if compare:
        column = dataset.labels(compare)
        check_single(column, compare, "--compare")
        truth = column.values
    check_media(dataset, opened, rows, sides)
    origin = {"command": "cluster", **settings_of(config), **record_of(opened)}
    whole = claim_column(dataset, name, {**origin, "scikit-learn": version("scikit-learn")}, replace)
    if whole is not None:
        options: dict[str, Any] = {"fitted": fitted, "device": device, "stopping": stopping}
        features = features_of(dataset, opened, rows, config, sides, **options)
        values = np.full(len(dataset), -1, np.int32)
        joined = np.concatenate([features[side] for side in sides], axis=1)
        values[rows] = clusters_of(joined, fitted, config.clusters, config.seed)
        write_labels(dataset, name, LabelColumn(values, cluster_names(config.clusters)), whole)
    made = dataset.labels(name).values[rows[fitted]]
    sizes = np.bincount(made, minlength=config.clusters)
    counts: dict[str, Any] = {"column": str(path_of(dataset, name)), "clips": len(made), "clusters": config.clusters}
    counts |= {"smallest": int(sizes.min()), "largest": int(sizes.max())}
    if truth is not None:
        counts["mutual_information"] = _shared(made, truth[rows[fitted]])
    return counts


def _shared(clusters: np.ndarray, truth: np.ndarray) -> float | None:
    """The normalised mutual information of clusters and labels, of the clips that have one."""
    from sklearn.metrics import normalized_mutual_info_score

    known = truth >= 0
    return float(normalized_mutual_info_score(truth[known], clusters[known])) if known.any() else None
