"""UrbanSound8K: 8,732 urban sounds of up to 4 s in 10 classes, ten official folds (Salamon et al. 2014)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Row
from avprep.datasets.folds import fold_options, splits_of_folds

if TYPE_CHECKING:
    from avprep.datasets.source import Source

FOLDS = 10


def rows(source: Source, *, test_fold: int, val_fold: int | None) -> Iterator[Row]:
    """The clips of metadata/UrbanSound8K.csv; the group is the fold, the cluster the recording (fsID)."""
    split_of = splits_of_folds(FOLDS, test_fold, val_fold)
    for row in source.table("metadata/UrbanSound8K.csv", ("slice_file_name", "fsID", "fold", "class")):
        yield Row(
            clip_id=row["slice_file_name"].rpartition(".")[0],
            label=row["class"],
            split=split_of(row["fold"]),
            files=[source.at(f"audio/fold{row['fold']}/{row['slice_file_name']}")],
            group=row["fold"],
            cluster=row["fsID"],
        )


ADAPTER = Adapter(
    name="urbansound8k",
    title="UrbanSound8K: urban sounds of up to 4 s",
    paper="Salamon et al. 2014",
    layout="`metadata/UrbanSound8K.csv` and `audio/fold1/` to `audio/fold10/`",
    labels="1 of 10",
    splits="10 official folds; `--test-fold` is the test split",
    licence="CC BY-NC",
    example="--root UrbanSound8K --test-fold 1",
    rows=rows,
    group="fold",
    options=fold_options(FOLDS),
)
