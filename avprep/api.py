"""avprep's commands as functions, under the names that `avprep` exports.

A path is a `str` or a `Path`; where a URL is possible it is a `str`, such as "s3://bucket/my-data".
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from avprep import inspect as inspect_module
from avprep.build import exclude as exclude_module
from avprep.build import run
from avprep.build.exclude import Excluded
from avprep.build.finalize import Totals
from avprep.build.finalize import finalize as finalize_folder
from avprep.build.run import BuildResult
from avprep.config import BuildConfig, Limits, build_config
from avprep.dataset import Dataset
from avprep.datasets.drawn import Shares
from avprep.datasets.folder import Folds, clips_of_folder, with_clusters
from avprep.datasets.output import WrittenManifest, folder_for, write
from avprep.datasets.table import clips_of_table
from avprep.labels import columns, multi_label
from avprep.manifest.addresses import start_of
from avprep.preview import content
from avprep.preview.content import Preview
from avprep.shared.configs import check
from avprep.shared.mirror import near
from avprep.shared.urls import path_or_url
from avprep.verify import dataset as verify_module
from avprep.verify.dataset import Findings
from avprep.verify.sources import Sources

AnyPath = Path | str


def manifest_of_folder(
    root: AnyPath,
    out: AnyPath,
    *,
    test_share: float | None = None,
    val_share: float = 0.0,
    seed: int = 0,
    fold_pattern: str | None = None,
    test_fold: str | None = None,
    split_folders: Mapping[str, str] | None = None,
    cluster_pattern: str | None = None,
    overwrite: bool = False,
) -> WrittenManifest:
    """Write the manifest of a folder with one sub-folder a class, or with train/, val/ and test/ of such.

    Args:
        root: The folder, or a URL that can be listed.
        out: Manifest to write: .csv, .jsonl or .parquet. One of other rows that is there is kept beside it.
        test_share: Share of the training clips that becomes the test split; None: 0.2 where nothing else gives one.
        val_share: Share of them that becomes the val split.
        seed: Seed of the drawn shares.
        fold_pattern: Regular expression whose group, at the start of a file's name, is the fold; with `test_fold`.
        test_fold: The fold that is the test split.
        split_folders: Sub-folders that are splits, such as `{"dev": "val"}`; `{}`: none, every sub-folder is a class.
        cluster_pattern: Regular expression whose group is the recording that a clip was cut from.
        overwrite: Keep no copy of the manifest that is there.

    Raises:
        UserError: The folder has no clips in class folders, or folds or splits do not fit.
    """
    check((fold_pattern is None) == (test_fold is None), "fold_pattern and test_fold go together; give both.")
    root, out = path_or_url(root), path_or_url(out)
    folds = Folds(fold_pattern, test_fold) if fold_pattern is not None and test_fold is not None else None
    clips, report = clips_of_folder(folder_for(root, out), test_share, seed, folds, val_share, split_folders)
    clips = clips if cluster_pattern is None else with_clusters(clips, cluster_pattern)
    return write(out, clips, report, overwrite=overwrite)


def manifest_of_table(
    table: AnyPath,
    out: AnyPath,
    *,
    root: AnyPath | None = None,
    rename: Mapping[str, str] | None = None,
    drop_leaks: bool = False,
    keep_missing: bool = False,
    test_share: float | None = None,
    val_share: float = 0.0,
    seed: int = 0,
    allow_local_paths: bool = False,
    overwrite: bool = False,
) -> WrittenManifest:
    """Write the manifest of a CSV, JSONL or Parquet table with `label` and `video_path` and / or `audio_path`.

    Args:
        table: The table, a file or a URL.
        out: Manifest to write, as in `manifest_of_folder`.
        root: Folder or URL where relative paths start; None: the table's folder.
        rename: The manifest's name for a column of the table, such as `{"category": "label"}`.
        drop_leaks: Drop training clips whose group or file is also in test or val.
        keep_missing: Keep clips without a file; they fail in the build.
        test_share: Share of the training clips, in whole groups, that becomes the test split.
        val_share: Share of them that becomes the val split.
        seed: Seed of the drawn shares.
        allow_local_paths: A table at a URL may name any file of this machine.
        overwrite: Keep no copy of the manifest that is there.

    Raises:
        UserError: The table has no such columns, or no clips.
    """
    table, out = path_or_url(table), path_or_url(out)
    start = start_of(table, None if root is None else path_or_url(root))
    folder = folder_for(start if "://" in start else Path(start), out)
    with near(table) as path:
        clips, report = clips_of_table(
            path,
            folder,
            renamed=rename or {},
            drop_leaks=drop_leaks,
            drop_missing=not keep_missing,
            shares=Shares(test=test_share or 0.0, val=val_share, seed=seed),
            whole_folder=root is not None,
            came_from=path if allow_local_paths else table,
        )
    return write(out, clips, report, overwrite=overwrite)


def build_shards(
    manifest: AnyPath,
    out: AnyPath,
    *,
    root: AnyPath | None = None,
    config: BuildConfig | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    partition: tuple[int, int] = (0, 1),
    executor: str = "local",
    address: str | None = None,
    max_consecutive_failures: int = 50,
    retry_failed: bool = False,
    allow_local_paths: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> BuildResult:
    """Build a dataset from a manifest; the same call resumes.

    Decoders run in spawned processes, so a script calls this below `if __name__ == "__main__":`.

    Args:
        manifest: The manifest, a file or a URL.
        out: Dataset folder to write, or a URL.
        root: Folder or URL where relative paths of the manifest start; None: the manifest's folder.
        config: All settings that decide the dataset's bytes.
        limits: What one clip may cost before it fails; None: the defaults of `Limits`.
        workers: Decoding processes; None: all cores.
        partition: (I, N): build part I of N. `finalize` joins the parts.
        executor: `local` or `ray`.
        address: Address of a running Ray cluster; None: one is started.
        max_consecutive_failures: Failures in a row that end the build; 0: no limit.
        retry_failed: Build those shards again in which clips failed.
        allow_local_paths: A manifest at a URL may name any file of this machine.
        stopping: Called between clips; once it returns True, the build stops and can be resumed.
        **settings: In place of `config`: fields of `VideoSpec`, `AudioSpec`, `ShardSpec` and `decoder` by their own
            names, such as `frame_size=64`, and `logmel_preset`, one of `paper`, `text-16k`, `released-code`.

    Raises:
        UserError: The manifest has mistakes, another build is in `out`, the disk is full, or no clip is good.
        Interrupted: `stopping` returned True.
    """
    if config is not None and settings:
        raise TypeError(f"Give config or settings, not both: {', '.join(settings)}.")
    return run.build_shards(
        path_or_url(manifest),
        path_or_url(out),
        config or build_config(**settings),
        limits or Limits(),
        root=None if root is None else path_or_url(root),
        workers=workers or run.default_workers(),
        executor=executor,
        address=address,
        max_consecutive_failures=max_consecutive_failures,
        partition=partition,
        retry_failed=retry_failed,
        allow_local_paths=allow_local_paths,
        stopping=stopping,
    )


def finalize(dataset: AnyPath) -> Totals:
    """Join the partitions of a build at a folder or URL: write its index, failures and dataset.json.

    Raises:
        UserError: A planned shard is missing, or no clip is good.
    """
    return finalize_folder(path_or_url(dataset))


def verify_dataset(
    dataset: AnyPath,
    *,
    workers: int | None = None,
    decode: bool = False,
    root: AnyPath = ".",
    decode_per_shard: int = 1,
) -> Findings:
    """Check every byte of a dataset folder; `problems` of the result is empty where all is as it was built.

    Args:
        dataset: The folder.
        workers: Threads that read; None: all cores.
        decode: Also decode some clips of each shard again and compare the bytes.
        root: Folder where relative paths of the manifest start, for `decode`.
        decode_per_shard: Clips of each shard, for `decode`.

    Raises:
        UserError: The folder is not a finished dataset.
    """
    sources = Sources(Path(root), decode_per_shard) if decode else None
    return verify_module.verify(Path(dataset), workers or run.default_workers(), sources)


def inspect_dataset(dataset: AnyPath) -> dict[str, Any]:
    """What a dataset folder or an unfinished build holds, as `avprep inspect --json` prints it; no shard is read.

    Raises:
        UserError: The folder holds neither.
    """
    return inspect_module.inspect(Path(dataset))


def write_preview(
    dataset: AnyPath,
    out: AnyPath,
    *,
    per_class: int | None = None,
    split: str | None = None,
    root: AnyPath | None = None,
    seed: int = 0,
) -> Preview:
    """Write a self-contained HTML page with a few clips of each class to look at and play.

    Args:
        dataset: The dataset folder.
        out: The page, FILE.html.
        per_class: Clips of each class; None: up to 4, fewer of many classes.
        split: Show clips of this split only; None: of all.
        root: Folder where relative source paths start; needed to play the clips.
        seed: Seed of the choice of clips.

    Raises:
        UserError: The dataset or a source cannot be read.
    """
    where = None if root is None else Path(root)
    return content.write_preview(Path(dataset), Path(out), per_class=per_class, split=split, root=where, seed=seed)


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


def add_noise(
    dataset: Dataset | AnyPath,
    name: str,
    *,
    share: float,
    labels: str = "label",
    split: str = "train",
    seed: int = 0,
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
        replace: Overwrite a column of this name that was made otherwise.

    Raises:
        UserError: There is no such column or split, or there is another column of this name.
    """
    return columns.add_noise(
        _opened(dataset), name, share=share, labels=labels, split=split, seed=seed, replace=replace
    )


def pseudo_label(
    dataset: Dataset | AnyPath,
    name: str | None = None,
    *,
    replace: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Path:
    """Write a label column from an image classifier's view of one frame of each clip; return its path.

    Args:
        dataset: The dataset or its folder.
        name: Name of the new column; None: that of the model, with -kK for K clusters.
        replace: Overwrite a column of this name that was made otherwise.
        stopping: Called between batches; once it returns True, nothing is written.
        **settings: Fields of `PseudoLabelConfig`, such as `model="efficientnet-lite0"` or `clusters=100`.

    Raises:
        UserError: There is no such model, or its weights cannot be read.
        Interrupted: `stopping` returned True.
    """
    from avprep.labels import pseudo_label as module

    config = module.PseudoLabelConfig(**settings)
    return module.pseudo_label(_opened(dataset), config, name or config.column_name, replace=replace, stopping=stopping)


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
