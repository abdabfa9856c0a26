"""VGGSound: 10 s of YouTube videos, 309 classes; csv of YouTube id, start seconds, label, split (Chen et al. 2020)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avprep.datasets.adapter import Adapter, Option, Row
from avprep.errors import ManifestError

if TYPE_CHECKING:
    from avprep.datasets.source import Source
    from avprep.manifest.clips import Clip

COLUMNS = ("youtube_id", "start_seconds", "label", "split")
CLIP_SECONDS = 10
ID_COLUMNS = ("clip_id", "youtube_id", "video_id", "YouTube ID", "YTID", "ytid", "id")

Parsed = tuple[str, int, str, str]
"""YouTube id, start in seconds, label, split"""


def rows(source: Source, *, metadata: Path, subset: Path | None, exclude: Path | None, **_: Any) -> Iterator[Row]:
    """The clips of `metadata`, at any depth below the root; a clip is ID_000START, its group the YouTube id.

    A file is named ID_START_END in milliseconds or ID_000START in seconds (6 digits). `subset`: a csv of the same
    columns whose rows replace the training rows (the paper's 309 x 123). `exclude`: YouTube ids or ID_000START names,
    one a line or in the first column. Errors: ManifestError; UserError as read_ids.
    """
    clips = list(clips_of(source, metadata))
    for row in clips:
        source.find(*names(row[0], row[1]))  # known, also where the subset replaces it
    if subset is not None:
        clips = [row for row in clips if row[3] != "train"] + list(clips_of(source, subset))
    ids = {name for youtube_id, start, _, _ in clips for name in (youtube_id, clip_id_of(youtube_id, start))}
    unwanted = _unwanted(source, exclude, ids, metadata) if exclude else set()
    for youtube_id, start, label, split in clips:
        clip_id = clip_id_of(youtube_id, start)
        file = source.find(*names(youtube_id, start))
        if unwanted and (youtube_id in unwanted or clip_id in unwanted):
            source.report.excluded.append(clip_id)
            continue
        yield Row(clip_id=clip_id, label=label, split=split, files=[file], group=youtube_id)


def clips_of(source: Source, path: Path) -> Iterator[Parsed]:
    """The rows of a csv of VGGSound. Errors: ManifestError."""
    for row in source.table(path, COLUMNS):
        try:
            yield row["youtube_id"], int(row["start_seconds"]), row["label"], row["split"]
        except ValueError:
            raise ManifestError(f"{path}: start_seconds {row['start_seconds']!r} is not a whole number.") from None


def clip_id_of(youtube_id: str, start: int) -> str:
    """The id of a clip, which is also its name in VGGSounder's tables."""
    return f"{youtube_id}_{start:06d}"


def names(youtube_id: str, start: int) -> Collection[str]:
    """The names that a clip's file may have, without suffix."""
    return f"{youtube_id}_{start * 1000}_{(start + CLIP_SECONDS) * 1000}", clip_id_of(youtube_id, start)


def chosen(clips: list[Clip], seed: int, *, per_class: int | None, balanced: bool, **_: Any) -> list[Clip]:
    """The clips that --per-class or --balanced keeps; all without them."""
    return balanced_clips(clips, per_class, seed) if balanced or per_class is not None else clips


def balanced_clips(clips: list[Clip], per_class: int | None, seed: int) -> list[Clip]:
    """`per_class` training clips of each class (None: as many as the smallest class has); other splits whole.

    Those with the lowest hash of seed and clip id: more clips beside them displace few.
    Errors: ManifestError where a class has fewer.
    """
    from avprep.shared.draw import SUBSET, fractions

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
    kept = {row for own in of_class.values() for row in sorted(own, key=number.__getitem__)[:count]}
    return [clip for row, clip in enumerate(clips) if clip.split != "train" or row in kept]


def _unwanted(source: Source, exclude: Path, known: Collection[str], metadata: Path) -> set[str]:
    """The ids of an exclusion list; those that name nothing are reported. Errors: UserError where that is all."""
    listed = source.ids(exclude, known, ID_COLUMNS)
    if not listed.known:
        raise ManifestError(
            f"{exclude} excludes nothing of {metadata}: {listed.examples()}, name no clip of it; give YouTube ids or "
            "ID_000START names, one a line."
        )
    source.report.strangers = listed.unknown
    return set(listed.known)


ADAPTER = Adapter(
    name="vggsound",
    title="VGGSound: 10 s of YouTube videos",
    paper="Chen et al. 2020",
    layout="`ID_START_END.mp4` (milliseconds) or `ID_000START.mp4` at any depth",
    labels="1 of 309",
    splits="train and test of the official csv",
    licence="CC BY 4.0; the videos are their authors'",
    example="--root videos --metadata vggsound.csv --drop-leaks",
    rows=rows,
    choose=chosen,
    group="YouTube id",
    note="A list of the package is given by its name, such as vggsound_balanced_38007.csv.",
    options=(
        Option(flag="--metadata", required=True, help="The official csv: YouTube id, start seconds, label, split."),
        Option(flag="--subset", help="csv whose rows replace the training rows."),
        Option(flag="--exclude", help="List of YouTube ids, or ID_000START names, to leave out."),
        Option(flag="--per-class", kind="number", help="Keep this many training clips of each class."),
        Option(flag="--balanced", kind="flag", help="Keep as many of each class as the smallest class has."),
    ),
)
