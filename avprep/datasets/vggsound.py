"""VGGSound: 10 s of YouTube videos, 309 classes; csv of YouTube id, start seconds, label, split (Chen et al. 2020)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from avprep.datasets.drawn import AS_GIVEN, Shares, settled
from avprep.datasets.folder import is_media
from avprep.datasets.media_folder import MediaFolder, by_name
from avprep.datasets.metadata_csv import read_rows
from avprep.errors import ManifestError
from avprep.manifest.checks import Report
from avprep.manifest.id_lists import read_ids
from avprep.manifest.read_write import Clip
from avprep.shared.draw import SUBSET, fractions

COLUMNS = ("youtube_id", "start_seconds", "label", "split")
CLIP_SECONDS = 10
ID_COLUMNS = ("clip_id", "youtube_id", "video_id", "YouTube ID", "YTID", "ytid", "id")


def clips_of_vggsound(
    media: MediaFolder,
    metadata: Path,
    *,
    subset: Path | None = None,
    exclude: Path | None = None,
    drop_leaks: bool = False,
    shares: Shares = AS_GIVEN,
) -> tuple[list[Clip], Report]:
    """Manifest rows of the clips of `metadata` whose file is in a folder, at any depth; the group is the YouTube id.

    A file is named ID_START_END.mp4 in milliseconds or ID_000START.mp4 in seconds (6 digits). `subset`: a csv of the
    same columns whose rows replace the training rows (the paper's 309 x 123). `exclude`: YouTube ids or
    ID_000START names, one a line or in the first column. `shares` of the training clips become other splits, by
    YouTube id. Errors: ManifestError; UserError as read_ids.
    """
    report = Report()
    rows = [_parsed(row, metadata) for row in read_rows(metadata, COLUMNS)]
    known = {(row[0], row[1]) for row in rows}
    if subset is not None:
        chosen = [_parsed(row, subset) for row in read_rows(subset, COLUMNS)]
        known |= {(row[0], row[1]) for row in chosen}
        rows = [row for row in rows if row[3] != "train"] + chosen
    ids = {name for youtube_id, start, _, _ in rows for name in (youtube_id, _clip_id(youtube_id, start))}
    unwanted = _unwanted(exclude, ids, metadata, report) if exclude else set()
    files = by_name(media)
    clips = []
    for youtube_id, start, label, split in rows:
        clip_id = _clip_id(youtube_id, start)
        if unwanted and (youtube_id in unwanted or clip_id in unwanted):
            report.excluded.append(clip_id)
            continue
        name = next((files[name] for name in _names(youtube_id, start) if name in files), "")
        if not name:
            report.missing.append(clip_id)
            continue
        clips.append(Clip(clip_id, label, split, video_path=media.written(name), group=youtube_id))
    report.foreign = media.foreign
    named = {name for one in known for name in _names(*one)}
    report.unnamed = [path for name, path in files.items() if is_media(name) and name not in named]
    return settled(clips, report, shares, drop_leaks=drop_leaks), report


def balanced(clips: list[Clip], per_class: int | None, seed: int) -> list[Clip]:
    """`per_class` training clips of each class (None: as many as the smallest class has); other splits whole.

    Those with the lowest hash of seed and clip id: more clips beside them displace few.
    Errors: ManifestError where a class has fewer.
    """
    of_class: dict[str, list[int]] = defaultdict(list)
    for row, clip in enumerate(clips):
        if clip.split == "train":
            of_class[clip.label].append(row)
    if not of_class:
        raise ManifestError("There are no training clips to choose from.")
    smallest = min(of_class, key=lambda label: (len(of_class[label]), label))
    count = len(of_class[smallest]) if per_class is None else per_class
    if len(of_class[smallest]) < count:
        raise ManifestError(f"Class {smallest!r} has {len(of_class[smallest])} training clips, fewer than {count}.")
    number = fractions((clip.clip_id for clip in clips), seed, SUBSET)
    chosen = {row for rows in of_class.values() for row in sorted(rows, key=number.__getitem__)[:count]}
    return [clip for row, clip in enumerate(clips) if clip.split != "train" or row in chosen]


def _parsed(row: dict[str, str], path: Path) -> tuple[str, int, str, str]:
    try:
        return row["youtube_id"], int(row["start_seconds"]), row["label"], row["split"]
    except ValueError:
        raise ManifestError(f"{path}: start_seconds {row['start_seconds']!r} is not a whole number.") from None


def _clip_id(youtube_id: str, start: int) -> str:
    return f"{youtube_id}_{start:06d}"


def _unwanted(exclude: Path, known: Collection[str], metadata: Path, report: Report) -> set[str]:
    """The ids of an exclusion list; those that name nothing are reported. Errors: UserError where that is all."""
    listed = read_ids(exclude, known, ID_COLUMNS)
    if not listed.known:
        raise ManifestError(
            f"{exclude} excludes nothing of {metadata}: {listed.examples()}, name no clip of it; give YouTube ids or "
            "ID_000START names, one a line."
        )
    report.strangers = listed.unknown
    return set(listed.known)


def _names(youtube_id: str, start: int) -> Collection[str]:
    return (f"{youtube_id}_{start * 1000}_{(start + CLIP_SECONDS) * 1000}.mp4", f"{youtube_id}_{start:06d}.mp4")
