"""The manifest as a file: written whole, the one before kept beside it, and what is odd in NAME.report.json."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from avprep.datasets.archive_folder import ArchiveFolder
from avprep.datasets.media_folder import MediaFolder, media_folder
from avprep.errors import ManifestError
from avprep.manifest.addresses import start_of
from avprep.manifest.checks import Report, missing_splits
from avprep.manifest.clips import Clip, values_of
from avprep.manifest.read_write import read_clips, write_manifest
from avprep.shared import mirror, store
from avprep.shared.outputs import REPORT_ENDING, beside_of
from avprep.shared.remote import RemotePath, path_of
from avprep.shared.urls import is_url


@dataclass(frozen=True)
class WrittenManifest:
    """What a manifest holds, and what is odd about the dataset's clips."""

    path: Path | str
    clips: int
    labels: int
    """classes"""
    splits: dict[str, int]
    """clips of each split"""
    findings: list[str] = field(default_factory=list)
    """a line for each kind of oddity, such as missing files or clips in two splits"""
    report_path: Path | str | None = None
    """JSON file with all of them, if there are any"""
    note: str = ""
    """what became of a manifest that was there before"""
    listed_labels: int = 0
    """labels in lists of several, 0 where no clip has a list"""
    labels_per_clip: float = 1.0


def folder_for(root: Path | str, out: Path | str, archives: bool = False) -> MediaFolder:
    """The folder of a dataset, for a manifest at `out`; with what is inside its `archives`."""
    if is_url(out):
        RemotePath(str(out)).check_writable()
    folder = media_folder(root, start_of(out, None))
    return ArchiveFolder(folder) if archives else folder


def write(out: Path | str, clips: list[Clip], report: Report, *, overwrite: bool = False) -> WrittenManifest:
    """Write a manifest, and beside it what is odd. Errors: ManifestError where there is no clip."""
    if not clips:
        raise ManifestError(f"There is not one clip to write to {out}: {'; '.join(report.lines()) or 'none'}.")
    note = _replace(out, clips, overwrite)
    report.no_split = missing_splits(clips)
    splits = {split: sum(clip.split == split for clip in clips) for split in sorted({clip.split for clip in clips})}
    findings, beside = report.lines(), None
    if findings:
        beside = beside_of(out, REPORT_ENDING)
        with mirror.sent(beside) as path:
            store.write_json(path, report.as_dict())
    lists = [clip.all_labels for clip in clips] if any(clip.labels for clip in clips) else []
    return WrittenManifest(
        out,
        len(clips),
        len({clip.label for clip in clips}),
        splits,
        findings,
        beside,
        note,
        len(set(itertools.chain.from_iterable(lists))),
        sum(map(len, lists)) / len(lists) if lists else 1.0,
    )


def _replace(out: Path | str, clips: list[Clip], overwrite: bool) -> str:
    """Write a manifest; returns what is to be printed of the one that was there.

    Where that has the same rows it stays. Else a copy of it is kept beside `out`, since datasets may have been built
    from it, unless `overwrite`.
    """
    note = ""
    with contextlib.ExitStack() as held:
        if isinstance(out, Path):
            out.parent.mkdir(parents=True, exist_ok=True)
            old, new = out, out.with_name(f".new-{out.name}")
            held.callback(new.unlink, missing_ok=True)
        else:
            scratch = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="avprep-")))
            old, new = (scratch / f"{name}-{out.rpartition('/')[2]}" for name in ("old", "new"))
            with contextlib.suppress(FileNotFoundError):
                mirror.fetch(RemotePath(out), old)
        write_manifest(new, clips)
        if old.exists() and old.stat().st_size > 0:
            difference = _difference(old, new)
            if not difference:
                return "; unchanged"
            if not overwrite:
                kept = _free_name(out)
                with mirror.sent(kept) as path:
                    shutil.copyfile(old, path)
                note = f"; {difference}; the manifest before is kept as {kept}"
        if isinstance(out, Path):
            os.replace(new, out)
        else:
            RemotePath(out).put(new)
    return note


def _free_name(out: Path | str) -> Path | str:
    """The first of NAME.1.csv, NAME.2.csv ... beside NAME.csv that is not there."""
    suffix = Path(out).suffix
    names = (beside_of(out, f".{number}{suffix}") for number in itertools.count(1))
    return next(name for name in names if not path_of(name).is_file())


def _difference(old: Path, new: Path) -> str:
    """In how many rows two manifests differ, '' where in none."""
    if old.read_bytes() == new.read_bytes():
        return ""
    try:
        before, after = ({clip.clip_id: values_of(clip) for clip in read_clips(path)[0]} for path in (old, new))
    except ManifestError:
        return "other contents"
    changed = sum(before[clip_id] != after[clip_id] for clip_id in before.keys() & after.keys())
    counts = {
        "came": len(after.keys() - before.keys()),
        "went": len(before.keys() - after.keys()),
        "changed": changed,
    }
    same_order = list(before) == list(after)
    return ", ".join(f"{n} {what}" for what, n in counts.items() if n) or ("" if same_order else "in another order")
