"""Label columns of a dataset, and clips taken out of it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avprep.audio_features import clip_samples
from avprep.build import exclude as exclude_module
from avprep.build.exclude import Excluded
from avprep.dataset import Dataset
from avprep.datasets.label_columns import add_columns_of
from avprep.datasets.options import adapter_of
from avprep.errors import ClipError
from avprep.labels import columns, multi_label, noise
from avprep.labels import folds as folds_module
from avprep.labels import relabel as relabel_module
from avprep.shared.configs import check
from avprep.shared.side_by_side import SideBySide
from avprep.shared.urls import path_or_url

if TYPE_CHECKING:
    from avprep.labels.pseudo_label import SoundInput

AnyPath = Path | str


def add_labels(
    dataset: Dataset | AnyPath,
    table: AnyPath,
    name: str,
    *,
    column: str = "label",
    multi: bool = False,
    separator: str = ";",
    replace: bool = False,
) -> Path:
    """Write the label column `name` from a CSV, JSONL or Parquet table with `clip_id` and `column`; return its path.

    Args:
        dataset: The dataset or its folder.
        table: The table.
        name: Name of the new column.
        column: Column of the table that holds the labels.
        multi: Any number of labels a clip: lists, names in one field, or several rows of a clip.
        separator: Between names in one field, for `multi`.
        replace: Overwrite a column of this name that was made otherwise.

    Raises:
        UserError: The table names unknown clips or a clip twice, or there is another column of this name.
    """
    dataset = _opened(dataset)
    if multi:
        multi_label.add_label_lists(dataset, Path(table), name, column=column, separator=separator, replace=replace)
    else:
        columns.add_labels(dataset, Path(table), name, column=column, replace=replace)
    return columns.path_of(dataset, name)


def add_labels_of(dataset: Dataset | AnyPath, table: AnyPath, source: str, *, replace: bool = False) -> dict[str, Path]:
    """Write the label columns that a public dataset's own table makes; return the path of each by name.

    Args:
        dataset: The dataset or its folder.
        table: The table, such as vggsounder.csv.
        source: The public dataset: `"vggsounder"` makes `audible`, `visible` and `audiovisual`.
        replace: Overwrite columns of these names that were made otherwise.

    Raises:
        UserError: The table has none of the clips, or there is another column of a name.
    """
    dataset, adapter = _opened(dataset), adapter_of(source)
    check(adapter.columns is not None, f"{source} has no table that makes label columns.")
    assert adapter.columns is not None
    added = add_columns_of(dataset, Path(table), source, adapter.columns, replace=replace)
    return {name: columns.path_of(dataset, name) for name in added}


def add_noise(
    dataset: Dataset | AnyPath,
    name: str,
    *,
    share: float,
    labels: str = "label",
    split: str = "train",
    seed: int = 0,
    within: AnyPath | None = None,
    replace: bool = False,
) -> Path:
    """Write the label column `name`: the column `labels` with wrong classes; return its path.

    Args:
        dataset: The dataset or its folder.
        name: Name of the new column.
        share: Share of the clips of `split` that get another class, drawn uniformly.
        labels: Column to start from.
        split: Other splits keep their labels.
        seed: Seed of the choice of clips and classes.
        within: Table with the columns `class` and `group`: a wrong class is one of the same group. `share` then is of
            the clips whose class has another in its group.
        replace: Overwrite a column of this name that was made otherwise.

    Raises:
        UserError: There is no such column or split, or there is another column of this name.
    """
    table = None if within is None else Path(within)
    return noise.add_noise(
        _opened(dataset), name, share=share, labels=labels, split=split, seed=seed, within=table, replace=replace
    )


def pseudo_label(
    dataset: Dataset | AnyPath,
    name: str | None = None,
    *,
    root: AnyPath = ".",
    workers: int | None = None,
    threads: int | None = None,
    processes: int = 1,
    executor: str = "local",
    address: str | None = None,
    replace: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Path:
    """Write a label column from a network's view of one frame of each clip, or of its sound; return its path.

    With several processes, a script calls this below `if __name__ == "__main__":`.

    Args:
        dataset: The dataset or its folder.
        name: Name of the new column; None: that of the model, with -kK for K clusters.
        root: For sounds: where relative paths of the manifest start.
        workers: For sounds: processes that decode them; None: all cores.
        threads: CPU threads of a process, which the last bits depend on; None: torch's choice, shared by all.
        processes: Processes that share the clips, on CUDA each with a GPU of its own; with Ray, cores of one started
            here.
        executor: `local` or `ray`, where the dataset lies in a folder that all nodes see.
        address: Of a running Ray cluster; None: one is started here.
        replace: Overwrite a column of this name that was made otherwise.
        stopping: Called between batches; once it returns True, nothing is written.
        **settings: Fields of `PseudoLabelConfig`, such as `model="efficientnet-lite0"` or `clusters=100`.

    Raises:
        UserError: There is no such model, or its weights cannot be read.
        Interrupted: `stopping` returned True.
    """
    from avprep.labels import pseudo_label as module

    config, dataset = module.PseudoLabelConfig(**settings), _opened(dataset)
    how = SideBySide(processes=processes, executor=executor, address=address)
    decoders = how.share_of(workers or len(os.sched_getaffinity(0)))
    folder = path_or_url(root)
    if isinstance(folder, Path) and not how.alone:
        folder = folder.absolute()
    sounds = _ClipSounds(folder, decoders, module.FRAMES[config.frame])
    name = name or config.column_name
    return module.pseudo_label(
        dataset, config, name, sounds=sounds, replace=replace, how=how, threads=threads, stopping=stopping
    )


@dataclass(frozen=True)
class _ClipSounds:
    """The sound of clips out of their sources, for a network that takes sounds."""

    root: AnyPath
    workers: int
    position: float

    def __call__(
        self, dataset: Dataset, rows: np.ndarray, wanted: SoundInput, any_source: bool
    ) -> Generator[np.ndarray | ClipError, None, None]:
        return clip_samples(
            dataset,
            rows,
            rate_hz=wanted.rate_hz,
            longest_seconds=wanted.longest_seconds,
            position=self.position,
            root=self.root,
            workers=self.workers,
            any_source=any_source,
        )


def relabel(
    dataset: Dataset | AnyPath, table: AnyPath, name: str, *, labels: str = "label", replace: bool = False
) -> Path:
    """Write the label column `name`: the column `labels` with classes renamed, merged or dropped; return its path.

    Args:
        dataset: The dataset or its folder.
        table: CSV, JSONL or Parquet with the columns `from` and `to`; an empty `to` drops a class.
        name: Name of the new column.
        labels: Column to start from.
        replace: Overwrite a column of this name that was made otherwise.

    Raises:
        UserError: The table names classes that the column does not have, or there is another column of this name.
    """
    dataset = _opened(dataset)
    relabel_module.relabel(dataset, Path(table), name, labels=labels, replace=replace)
    return columns.path_of(dataset, name)


def split_folds(
    dataset: Dataset | AnyPath,
    name: str = "folds",
    *,
    folds: int,
    by: str = "group",
    labels: str = "label",
    split: str = "",
    seed: int = 0,
    replace: bool = False,
) -> Path:
    """Write the label column `name`, whose classes "0", "1" ... are folds for cross-validation; return its path.

    Args:
        dataset: The dataset or its folder.
        name: Name of the new column.
        folds: Number of folds.
        by: `group`: no group of the manifest is in two folds; `clip`: each clip is on its own.
        labels: Column whose classes are balanced, as far as the groups allow.
        split: Fold the clips of this split alone; empty: all.
        seed: Order of groups of one size.
        replace: Overwrite a column of this name that was made otherwise; folds of the same settings stay.

    Raises:
        UserError: There are fewer groups than folds, or there is another column of this name.
    """
    dataset = _opened(dataset)
    folds_module.split_folds(dataset, name, folds=folds, by=by, labels=labels, split=split, seed=seed, replace=replace)
    return columns.path_of(dataset, name)


def exclude(
    dataset: AnyPath, clip_ids: Iterable[str] | Path, *, reason: str, date: datetime.date | None = None
) -> Excluded:
    """Take clips out of a dataset's index; later builds and `finalize` keep them out. The shards still hold them.

    Args:
        dataset: The dataset folder.
        clip_ids: The clip ids, or the `Path` of a list: one a line, or a table with clip_id.
        reason: Recorded in excluded.jsonl for each clip.
        date: Recorded beside it; None: today.

    Raises:
        UserError: An id is not in the manifest, or no clip would be left; nothing is changed.
    """
    folder = Path(dataset)
    if isinstance(clip_ids, str):
        raise TypeError("clip_ids is a list of ids or a Path, not a str.")
    ids = exclude_module.ids_to_exclude(folder, clip_ids) if isinstance(clip_ids, Path) else list(clip_ids)
    return exclude_module.exclude(folder, ids, reason, (date or datetime.date.today()).isoformat())


def _opened(dataset: Dataset | AnyPath) -> Dataset:
    return dataset if isinstance(dataset, Dataset) else Dataset(dataset)
