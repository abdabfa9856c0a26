"""Any table with a manifest's columns, under their own names or renamed, to a clean manifest."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from avprep.datasets.drawn import AS_GIVEN, Shares, settled
from avprep.datasets.media_folder import MediaFolder
from avprep.datasets.unnamed import unnamed
from avprep.manifest.addresses import check_local
from avprep.manifest.checks import Report, missing
from avprep.manifest.read_write import AS_MANIFEST, Clip, read_clips, unusable
from avprep.manifest.table_options import TableOptions
from avprep.shared.urls import in_archive, is_url, split_address


def clips_of_table(
    path: Path,
    media: MediaFolder,
    *,
    options: TableOptions = AS_MANIFEST,
    drop_leaks: bool = False,
    drop_missing: bool = True,
    shares: Shares = AS_GIVEN,
    whole_folder: bool = False,
    came_from: Path | str = Path(),
) -> tuple[list[Clip], Report]:
    """Manifest rows of a CSV, JSONL or Parquet table whose relative paths start at a folder, and the findings.

    `options` make a manifest's columns of the table's own. Relative paths are written anew, absolute ones and URLs
    stay. `shares` of the training clips become other splits (drawn.settled). With `whole_folder` media files that no
    row names are reported. `came_from`: where the table lies; at a URL it may name no file of this machine that is not
    below the folder. Errors: ManifestError with all rows that are not a clip, and the other findings; where a split to
    be drawn exists already. Files at URLs are not looked for.
    """
    rows, problems = read_clips(path, options)
    check_local(rows, came_from, str(media.root))
    report = Report(missing_kept=not drop_missing)
    report.missing, _ = missing(rows, media.root)
    without_file = set() if not drop_missing else set(report.missing)
    if whole_folder:
        report.unnamed = unnamed(media, (path for clip in rows for path in (clip.video_path, clip.audio_path) if path))
        report.foreign = media.foreign
    clips = settled([clip for clip in rows if clip.clip_id not in without_file], report, shares, drop_leaks=drop_leaks)
    if problems:
        raise unusable(path, problems + report.lines())
    return [_moved(clip, media) for clip in clips], report


def _moved(clip: Clip, media: MediaFolder) -> Clip:
    def moved(written: str) -> str:
        kind, member, file = split_address(written)
        if not file or os.path.isabs(file) or is_url(file):
            return written
        return in_archive(kind, member, media.written(file)) if kind else media.written(file)

    video, audio = moved(clip.video_path), moved(clip.audio_path)
    group = video or audio if clip.group == clip.source else clip.group
    return dataclasses.replace(clip, video_path=video, audio_path=audio, group=group)
