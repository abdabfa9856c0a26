"""The label columns of datasets that are merged: joined by clip id, class names by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from avprep import schema
from avprep.dataset import Dataset, LabelColumn
from avprep.labels.columns import NONE, claim_column, write_labels
from avprep.labels.multi_label import read_origin, write_lists

PROBABILITY = "probability"


def merge_columns(folders: Sequence[Path], out: Path) -> list[str]:
    """Names of the label columns of `folders` that the merged dataset `out` has; written where they are not there.

    A clip of a dataset that does not have the column has no label in it. Of several labels a clip and one of the same
    name, the column holds lists.
    """
    names = sorted({path.stem for folder in folders for path in (folder / "labels").glob("*.parquet")})
    merged = Dataset(out)
    for name in names:
        if (out / schema.labels_path(name)).exists():
            continue  # the manifest's own, or of the same command before it was killed
        _merge(name, [Dataset(folder) for folder in folders], merged)
    return names


def _merge(name: str, sources: Sequence[Dataset], merged: Dataset) -> None:
    """Write one column of the merged dataset."""
    have = {source: path for source in sources if (path := source.local_folder / schema.labels_path(name)).exists()}
    columns = {source: source.labels(name) for source in have}
    made = {"command": "merge", "columns": [read_origin(path) for path in have.values()]}
    origin = claim_column(merged, name, made, replace=True) or made
    if any(column.lists is not None for column in columns.values()):
        lists: dict[str, list[str] | None] = {}
        for source, column in columns.items():
            lists.update(zip(source.clip_ids, _lists(source, name, column), strict=True))
        path = merged.local_folder / schema.labels_path(name)
        write_lists(path, merged.clip_ids, [lists.get(clip_id) for clip_id in merged.clip_ids], origin)
        return
    class_names = list(dict.fromkeys(one for column in columns.values() for one in column.class_names))
    number_of = {one: number for number, one in enumerate(class_names)}
    labels: dict[str, int] = {}
    probabilities: dict[str, float] = {}
    for source, column in columns.items():
        numbers = np.array([*(number_of[one] for one in column.class_names), NONE], np.int32)[column.values]
        labels.update(zip(source.clip_ids, numbers.tolist(), strict=True))
        if PROBABILITY in pq.read_schema(have[source]).names:
            probabilities.update(zip(source.clip_ids, source.label_probabilities(name).tolist(), strict=True))
    values = np.array([labels.get(clip_id, NONE) for clip_id in merged.clip_ids], np.int32)
    extra = {}
    if probabilities:
        extra[PROBABILITY] = np.array([probabilities.get(clip_id, 1.0) for clip_id in merged.clip_ids], np.float32)
    write_labels(merged, name, LabelColumn(values, class_names), origin, **extra)


def _lists(source: Dataset, name: str, column: LabelColumn) -> list[list[str] | None]:
    """The labels of each clip as lists."""
    if column.lists is not None:
        return source.label_lists(name)
    return [None if value < 0 else [column.class_names[value]] for value in column.values.tolist()]
