"""Manifests of a folder, of a table, of archives and of public datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avprep.datasets.archive import FOLDER, Fields, clips_of_archives
from avprep.datasets.drawn import Shares
from avprep.datasets.folder import Folds, clips_of_folder, with_clusters
from avprep.datasets.label_names import read_label_names
from avprep.datasets.manifest_of import clips_of_dataset
from avprep.datasets.options import adapter_of, values_of
from avprep.datasets.output import WrittenManifest, folder_for, write
from avprep.datasets.table import clips_of_table
from avprep.manifest.addresses import start_of
from avprep.manifest.clips import SEPARATOR
from avprep.manifest.table_options import TableOptions
from avprep.shared.configs import check
from avprep.shared.mirror import near
from avprep.shared.remote import RemotePath
from avprep.shared.urls import path_or_url

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
    columns: Sequence[str] = (),
    separator: str = SEPARATOR,
    label_names: AnyPath | None = None,
    video_path: str = "",
    audio_path: str = "",
    split: str = "",
    drop_leaks: bool = False,
    keep_missing: bool = False,
    test_share: float | None = None,
    val_share: float = 0.0,
    seed: int = 0,
    allow_local_paths: bool = False,
    overwrite: bool = False,
) -> WrittenManifest:
    """Write the manifest of a CSV, JSONL or Parquet table with `label` or `labels`, and paths or what makes them.

    Args:
        table: The table, a file or a URL.
        out: Manifest to write, as in `manifest_of_folder`.
        root: Folder or URL where relative paths start; None: the table's folder.
        rename: The manifest's name for a column of the table, such as `{"category": "label"}`.
        columns: Names of the columns of a CSV file without a header; lines that begin with # are comments there.
        separator: Between the labels in one field of the column `labels`.
        label_names: Names of the labels that the table has by id: AudioSet's ontology.json, or a CSV file with mid and
            display_name.
        video_path: The path of each row, with columns of the table in braces, such as `"clips/{YTID}.mp4"`.
        audio_path: The same for files of sound.
        split: Split of rows that name none; empty: train.
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
    options = TableOptions(
        renamed=rename or {},
        columns=tuple(columns),
        separator=separator,
        label_names={} if label_names is None else read_label_names(Path(label_names)),
        video_path=video_path,
        audio_path=audio_path,
        split=split,
    )
    check(bool(separator), "separator is empty; give what is between the labels, such as a comma.")
    folder = folder_for(start if "://" in start else Path(start), out)
    with near(table) as path:
        clips, report = clips_of_table(
            path,
            folder,
            options=options,
            drop_leaks=drop_leaks,
            drop_missing=not keep_missing,
            shares=Shares(test=test_share or 0.0, val=val_share, seed=seed),
            whole_folder=root is not None,
            came_from=path if allow_local_paths else table,
        )
    return write(out, clips, report, overwrite=overwrite)


def manifest_of_archives(
    files: Sequence[AnyPath],
    out: AnyPath,
    *,
    label: str = FOLDER,
    split: str = "",
    group: str = "",
    test_share: float | None = None,
    val_share: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
) -> WrittenManifest:
    """Write the manifest of the clips inside tar, zip and Parquet files, which are not unpacked.

    `label`, `split` and `group` name where a clip has them: `"folder"`, the folder of the member; a suffix such as
    `".txt"`, the text of KEY.txt for KEY.mp4; else a field of KEY.json. Of Parquet they are columns, `"folder"` is
    `"label"`; the media are columns of bytes, or of bytes and path, as `datasets` writes `Video` and `Audio`.

    Args:
        files: The archives, files or URLs: .tar, not compressed, .zip or .parquet.
        out: Manifest to write, as in `manifest_of_folder`.
        label: Where the label is; a list in KEY.json gives several.
        split: Where the split is, also `"archive"`: by the name of the archive or its folder; empty: train.
        group: Where the group is; empty: the file.
        test_share: Share of the training clips, in whole groups, that becomes the test split.
        val_share: Share of them that becomes the val split.
        seed: Seed of the drawn shares.
        overwrite: Keep no copy of the manifest that is there.

    Raises:
        UserError: An archive cannot be read or is damaged, has no media, or a clip has no such field.
    """
    out = path_or_url(out)
    if isinstance(out, str):
        RemotePath(out).check_writable()
    clips, report = clips_of_archives(
        [path_or_url(file) for file in files],
        start_of(out, None),
        Fields(label=label, split=split, group=group),
        Shares(test=test_share or 0.0, val=val_share, seed=seed),
    )
    return write(out, clips, report, overwrite=overwrite)


def manifest_of_dataset(
    dataset: str,
    root: AnyPath,
    out: AnyPath,
    *,
    archives: bool = False,
    drop_leaks: bool = False,
    test_share: float | None = None,
    val_share: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
    **options: Any,
) -> WrittenManifest:
    """Write the manifest of a public dataset, from its own metadata as it is distributed.

    Args:
        dataset: Its name, as in `avprep manifest`: `"audioset"`, `"esc50"`, `"vggsound"` and others.
        root: Folder or URL with the dataset's files.
        out: Manifest to write, as in `manifest_of_folder`.
        archives: The files are inside the .tar and .zip files of that folder, which stay as they are.
        drop_leaks: Drop training clips whose group or file is also in test or val.
        test_share: Share of the training clips, in whole groups, that becomes the test split.
        val_share: Share of them that becomes the val split.
        seed: Seed of the drawn shares.
        overwrite: Keep no copy of the manifest that is there.
        **options: Options of the dataset's command, such as `test_fold=1` for `--test-fold 1`; several files are a
            tuple. A list of the package is given by its name.

    Raises:
        UserError: The dataset has no adapter, the metadata does not fit, or there is no clip.
    """
    adapter = adapter_of(dataset)
    root, out = path_or_url(root), path_or_url(out)
    shares = Shares(test=test_share or 0.0, val=val_share, seed=seed)
    with values_of(adapter, options) as values:
        folder = folder_for(root, out, archives)
        clips, report = clips_of_dataset(adapter, folder, values, shares=shares, drop_leaks=drop_leaks)
        return write(out, clips, report, overwrite=overwrite)
