"""Stages between two runs: columns of labels, and files of pairs, made with the features of a run.

Each is a function here and a command of avtrain. A stage reads a run and its dataset, and writes one file that the next
run is trained by, so that plans stay pure and what a stage made can be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avprep.shared.urls import path_or_url
from avtrain.config import CleanConfig, ClusterConfig, NeighboursConfig, PropagateConfig
from avtrain.devices import device_for
from avtrain.stages import hide
from avtrain.stages.cluster import cluster_column
from avtrain.stages.neighbours import neighbour_pairs
from avtrain.stages.relabel import CLEAN, PROPAGATE, relabel

__all__ = ["clean_labels", "cluster_clips", "hide_labels", "propagate_labels", "write_neighbours"]

AnyPath = Path | str


def clean_labels(
    dataset: AnyPath,
    run: AnyPath | None,
    name: str,
    *,
    compare: str = "",
    replace: bool = False,
    device: str = "auto",
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> dict[str, Any]:
    """Write the label column `name`: the labels of training clips, held against a run's features.

    A clip whose neighbours vote for its label keeps it, one whose neighbours are sure of another gets that, the rest
    have none.

    Args:
        dataset: The dataset's folder.
        run: Run, or the folder of one checkpoint, that was trained on it; None for `by="log-mel"`.
        name: Name of the new column, with the `probability` of each label.
        compare: Column of true labels, to report the share of right ones.
        replace: Overwrite a column of this name that was made otherwise.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        stopping: Called between batches; once it returns True, nothing is written.
        **settings: Fields of `CleanConfig`, such as `by="cross"` or `method="confident"`.

    Returns:
        `kept`, `changed`, `set_aside`, `without` (clips), `per_class`, and `right` with `compare`.

    Raises:
        UserError: Run, dataset, labels and settings do not fit, or there is another column of this name.
        Interrupted: `stopping` returned True.
    """
    config, where = CleanConfig(**settings), device_for(device)
    options: dict[str, Any] = {"compare": compare, "replace": replace, "device": where, "stopping": stopping}
    return relabel(Path(dataset), _path(run), name, config, CLEAN, **options)


def propagate_labels(
    dataset: AnyPath,
    run: AnyPath | None,
    name: str,
    *,
    compare: str = "",
    replace: bool = False,
    device: str = "auto",
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> dict[str, Any]:
    """Write the label column `name`: training clips without a label get that of their labelled neighbours.

    Arguments and errors are those of `clean_labels`; `settings` are fields of `PropagateConfig`.

    Returns:
        `kept`, `added`, `without` (clips), `per_class`, and `right` with `compare`.
    """
    config, where = PropagateConfig(**settings), device_for(device)
    options: dict[str, Any] = {"compare": compare, "replace": replace, "device": where, "stopping": stopping}
    return relabel(Path(dataset), _path(run), name, config, PROPAGATE, **options)


def hide_labels(
    dataset: AnyPath,
    name: str,
    *,
    share: float,
    labels: str = "label",
    split: str = "train",
    seed: int = 0,
    replace: bool = False,
) -> Path:
    """Write the label column `name`, in which a share of each label's clips keep it and the others have none.

    They are the clips that `soft-positive:labelled=SHARE` of the same seed goes by, at least two of each label.

    Args:
        dataset: The dataset's folder.
        name: Name of the new column.
        share: Share that keeps its label, above 0, to 1; a smaller one is part of a larger one.
        labels: Column to start from.
        split: Other splits keep their labels.
        seed: Seed of the choice.
        replace: Overwrite a column of this name that was made otherwise.

    Returns:
        The path of the column.

    Raises:
        UserError: There is no such column or split, or there is another column of this name.
    """
    return hide.hide_labels(Dataset(dataset), name, share=share, labels=labels, split=split, seed=seed, replace=replace)


def write_neighbours(
    dataset: AnyPath,
    run: AnyPath | None,
    out: AnyPath,
    *,
    compare: str = "",
    device: str = "auto",
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> dict[str, Any]:
    """Write a Parquet file of pairs: each training clip's sound with the pictures of its nearest other clips.

    `strategy="pairs:FILE:weights=partner"` of `pretrain` draws one of them for each sound. No label is used.

    Args:
        dataset: The dataset, a folder or a URL.
        run: Run, or the folder of one checkpoint, that was trained on it; None for `by="log-mel"`.
        out: Parquet file with the columns `audio`, `video`, `weight` and `similarity`.
        compare: Label column, to report the share of pairs of one class.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        stopping: Called between batches; once it returns True, nothing is written.
        **settings: Fields of `NeighboursConfig`, such as `by="audio"` or `neighbours=10`.

    Returns:
        `pairs`, `clips` that have one, those `without`, `mean_similarity`, and `same_class` with `compare`.

    Raises:
        UserError: Run, dataset and settings do not fit.
        Interrupted: `stopping` returned True.
    """
    config, where = NeighboursConfig(**settings), device_for(device)
    source = path_or_url(dataset)
    return neighbour_pairs(source, _path(run), Path(out), config, compare=compare, device=where, stopping=stopping)


def _path(run: AnyPath | None) -> Path | None:
    return None if run is None else Path(run)


def cluster_clips(
    dataset: AnyPath,
    run: AnyPath | None,
    name: str,
    *,
    compare: str = "",
    replace: bool = False,
    device: str = "auto",
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> dict[str, Any]:
    """Write the label column `name` of clusters (k-means) of a run's features, fitted on the training clips.

    Arguments and errors are those of `clean_labels`; `settings` are fields of `ClusterConfig`, such as `clusters=50`.

    Returns:
        `clips`, `clusters`, `smallest`, `largest`, and `mutual_information` (normalised) with `compare`.
    """
    config, where = ClusterConfig(**settings), device_for(device)
    options: dict[str, Any] = {"compare": compare, "replace": replace, "device": where, "stopping": stopping}
    return cluster_column(Path(dataset), _path(run), name, config, **options)
