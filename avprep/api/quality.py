"""Measures of the clips of a dataset, near duplicates, and clips selected by their measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avprep.build.run import default_workers
from avprep.dataset import Dataset
from avprep.quality import select as select_module
from avprep.quality import table
from avprep.quality.duplicates import Duplicates, DuplicatesConfig, near_duplicates, write_duplicates
from avprep.quality.select import Selection

AnyPath = Path | str


def measure_quality(
    dataset: AnyPath, *, workers: int | None = None, stopping: Callable[[], bool] = lambda: False
) -> Path:
    """Write quality.parquet of a dataset folder, measures and hashes of each clip, and return its path.

    More than one worker are spawned processes, so a script calls this below `if __name__ == "__main__":`.

    Args:
        dataset: The dataset folder.
        workers: Processes that measure; None: all cores; 1: this process.
        stopping: Called between shards; once it returns True, the work stops and can be resumed.

    Raises:
        UserError: The folder is not a finished dataset, or a shard is damaged.
        Interrupted: `stopping` returned True.
    """
    return table.write_quality(Path(dataset), workers=workers or default_workers(), stopping=stopping)


def duplicates(
    dataset: Dataset | AnyPath,
    out: AnyPath | None = None,
    *,
    by: str = "both",
    picture_distance: float = 0.32,
    sound_distance: float = 0.57,
) -> Duplicates:
    """Near duplicates of a measured dataset, within and across splits; `table()` of the result is one row a pair.

    Args:
        dataset: The dataset or its folder.
        out: Table to write, .csv or .parquet; None: none.
        by: `both`, `pictures` or `sounds`: what must be alike.
        picture_distance: Largest share of the bits of the pictures' hashes that may differ.
        sound_distance: The same for the sounds' hashes.

    Raises:
        UserError: The dataset has not been measured since it changed.
    """
    config = DuplicatesConfig(by=by, picture_distance=picture_distance, sound_distance=sound_distance)
    result = near_duplicates(_opened(dataset), config)
    if out is not None:
        write_duplicates(result, Path(out))
    return result


def select(
    dataset: Dataset | AnyPath,
    where: str,
    *,
    name: str | None = None,
    labels: str = "label",
    others: AnyPath | None = None,
    replace: bool = False,
) -> Selection:
    """Clips that a condition is true of, such as `"silence < 0.9 and motion > 0.01"`; `rows` of the result is bool.

    Args:
        dataset: The dataset or its folder.
        where: The condition.
        name: Name of a label column to write: `labels` of the clips that fit, no label for others.
        labels: Column that the labels are of.
        others: List to write of the ids of clips that do not fit.
        replace: Overwrite a column of this name that was made otherwise.

    Raises:
        UserError: The condition is none, names no column or fits no clip; another column of this name is there.
    """
    selection = select_module.select(_opened(dataset), where)
    if name is not None:
        select_module.write_column(selection, name, labels=labels, replace=replace)
    if others is not None:
        select_module.write_others(selection, Path(others))
    return selection


def _opened(dataset: Dataset | AnyPath) -> Dataset:
    return dataset if isinstance(dataset, Dataset) else Dataset(dataset)
