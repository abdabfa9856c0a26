"""The multi-label column of a dataset whose manifest has several labels a clip: labels/labels.parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from avprep import schema
from avprep.labels.multi_label import read_origin, write_lists
from avprep.manifest.clips import SEPARATOR

ORIGIN = {"command": "build-shards", "column": schema.MANIFEST_LABELS}


def write_manifest_lists(out: Path) -> None:
    """Write the column, if the manifest of the folder `out` has lists; a column of the user's own of its name stays."""
    with pq.ParquetFile(out / schema.PLAN_MANIFEST) as manifest:
        if schema.MANIFEST_LABELS not in manifest.schema_arrow.names:
            return
        table = manifest.read(["clip_id", "label", schema.MANIFEST_LABELS])
    path = out / schema.labels_path(schema.MANIFEST_LABELS)
    if is_users_own(out):
        return
    ids, labels, lists = (column.to_pylist() for column in table.columns)
    names = [several.split(SEPARATOR) if several else [one] for one, several in zip(labels, lists, strict=True)]
    path.parent.mkdir(exist_ok=True)
    write_lists(path, ids, names, ORIGIN)


def is_users_own(out: Path) -> bool:
    """Whether the folder `out` has a column of that name that the user has made."""
    path = out / schema.labels_path(schema.MANIFEST_LABELS)
    return path.exists() and read_origin(path).get("command") != ORIGIN["command"]
