"""ESC-50 and ESC-10: 5 s of environmental sounds, five official folds (Piczak 2015)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Option, Row
from avprep.datasets.folds import fold_options, splits_of_folds

if TYPE_CHECKING:
    from avprep.datasets.source import Source

FOLDS = 5


def rows(source: Source, *, test_fold: int, val_fold: int | None, esc10: bool) -> Iterator[Row]:
    """The clips of meta/esc50.csv; the group is the fold, the cluster the recording that a clip was cut from."""
    split_of = splits_of_folds(FOLDS, test_fold, val_fold)
    for row in source.table("meta/esc50.csv", ("filename", "fold", "category", "esc10", "src_file")):
        file = source.at(f"audio/{row['filename']}")
        if esc10 and row["esc10"].strip().lower() != "true":
            continue
        yield Row(
            clip_id=row["filename"].rpartition(".")[0],
            label=row["category"],
            split=split_of(row["fold"]),
            files=[file],
            group=row["fold"],
            cluster=row["src_file"],
        )


ADAPTER = Adapter(
    name="esc50",
    title="ESC-50 and ESC-10: environmental sounds of 5 s",
    paper="Piczak 2015",
    layout="`meta/esc50.csv` and `audio/`",
    labels="1 of 50; with `--esc10` 1 of 10",
    splits="5 official folds; `--test-fold` is the test split",
    licence="CC BY-NC 3.0; ESC-10: CC BY 3.0",
    example="--root ESC-50-master --test-fold 1",
    rows=rows,
    group="fold",
    options=(*fold_options(FOLDS), Option(flag="--esc10", kind="flag", help="Only the 400 clips of ESC-10.")),
)
