"""What is odd between a manifest's rows, found as a whole: repeats, leaks, missing files, labels that look alike."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from avprep.manifest import Clip

KNOWN_SPLITS = ("train", "val", "test")
LISTING_PAYS_FROM = 16  # files wanted of one folder
MOST_LOOKUPS = 5_000  # single files looked for where listing does not pay


@dataclasses.dataclass
class Report:
    """All that is odd about a dataset, told together: file names, clip ids, sources in two splits, labels."""

    missing: list[str] = dataclasses.field(default_factory=list)
    duplicates: list[str] = dataclasses.field(default_factory=list)
    same_media: list[str] = dataclasses.field(default_factory=list)
    unknown_splits: list[str] = dataclasses.field(default_factory=list)
    excluded: list[str] = dataclasses.field(default_factory=list)
    leaks: list[str] = dataclasses.field(default_factory=list)
    dropped_leaks: list[str] = dataclasses.field(default_factory=list)
    similar_labels: list[str] = dataclasses.field(default_factory=list)
    all_kept: bool = False
    """whether what was found stays in: a build leaves nothing out"""
    missing_kept: bool = False
    """whether clips without a file stay in"""

    def lines(self) -> list[str]:
        """A sentence for each kind of finding that occurred."""
        out = "" if self.all_kept else " and were left out"
        leaks = "" if self.all_kept or self.dropped_leaks else " (--drop-leaks takes their training clips out)"
        sentences = {
            "missing": "clips have no file" + (" and will fail" if self.all_kept or self.missing_kept else out),
            "duplicates": "rows repeat a clip_id and were left out",
            "same_media": "clips are the same span of the same file as one before",
            "unknown_splits": "rows are of no known split (train, val, test)" + out,
            "excluded": "clips were left out as the exclusion list asks",
            "leaks": "sources stand in two splits" + leaks,
            "dropped_leaks": "training clips were left out, since their source is also in test or val",
            "similar_labels": "sets of labels differ in case, spaces or Unicode form alone and stay apart",
        }
        found = ((getattr(self, name), sentence) for name, sentence in sentences.items())
        return [f"{len(items)} {sentence}, such as {items[0]}" for items, sentence in found if items]

    def as_dict(self) -> dict[str, list[str]]:
        """Every finding in full, for JSON."""
        return {name: found for name, found in dataclasses.asdict(self).items() if isinstance(found, list)}


def settle(clips: Iterable[Clip], report: Report, drop_leaks: bool) -> list[Clip]:
    """Clips without repeats, of known splits; sources in two splits are reported, or their training clips dropped."""
    kept: dict[str, Clip] = {}
    for clip in clips:
        if clip.split not in KNOWN_SPLITS:
            report.unknown_splits.append(f"{clip.clip_id} ({clip.split or 'none'})")
        elif clip.clip_id in kept:
            report.duplicates.append(clip.clip_id)
        else:
            kept[clip.clip_id] = clip
    found = list(kept.values())
    compare(found, report)
    if not drop_leaks:
        return found
    leaking = set(report.leaks)
    dropped = {c.clip_id for c in found if c.split == "train" and leaking.intersection((c.group, *_files(c)))}
    report.dropped_leaks = [clip.clip_id for clip in found if clip.clip_id in dropped]
    return [clip for clip in found if clip.clip_id not in dropped]


def examine(
    clips: Sequence[Clip], to_build: Iterable[Clip], root: Path, most_lookups: int | None = MOST_LOOKUPS
) -> Report:
    """What a build says before it decodes: all findings between `clips`, and which of `to_build` have no file."""
    report = Report(all_kept=True)
    report.missing, _ = missing(to_build, root, most_lookups)
    report.unknown_splits = [f"{clip.clip_id} ({clip.split})" for clip in clips if clip.split not in KNOWN_SPLITS]
    compare(clips, report)
    return report


def compare(clips: Sequence[Clip], report: Report) -> None:
    """Report same media under two ids, sources (groups, or files) in two splits, labels that look alike."""
    split_of: dict[str, str] = {}
    media: dict[tuple[Any, ...], str] = {}
    leaking: set[str] = set()
    for clip in clips:
        files = _files(clip)
        for source in (clip.group, *files):
            if split_of.setdefault(source, clip.split) != clip.split:
                leaking.add(source)
        first = media.setdefault((files, clip.start_seconds or 0.0, clip.end_seconds), clip.clip_id)
        if first != clip.clip_id:
            report.same_media.append(f"{clip.clip_id} (as {first})")
    groups = {clip.group for clip in clips if clip.group in leaking}
    told = {file for clip in clips if clip.group in groups for file in _files(clip)} - groups
    report.leaks = sorted(leaking - told)
    report.similar_labels = similar({clip.label for clip in clips})


def similar(labels: Collection[str]) -> list[str]:
    """Sets of labels, each as one line, that are the same but for case, spaces and Unicode normal form."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
        alike[" ".join(folded.split())].append(label)
    return [" / ".join(map(ascii, found)) for found in alike.values() if len(found) > 1]


def missing(clips: Iterable[Clip], root: Path, most_lookups: int | None = None) -> tuple[list[str], int]:
    """(ids of clips of which a file is not there, number of files not looked for), cheap for many clips.

    A folder of which many files are wanted is listed once; other files are looked for one by one, at most
    `most_lookups` of them.
    """
    of_folder: dict[str, set[str]] = defaultdict(set)
    places: dict[str, tuple[str, str]] = {}
    clips = list(clips)
    for clip in clips:
        for path in (clip.video_path, clip.audio_path):
            if path and path not in places:
                places[path] = os.path.split(os.path.join(root, path))
                of_folder[places[path][0]].add(places[path][1])
    there: dict[str, set[str]] = {}
    unseen = 0
    for folder, names in of_folder.items():
        if len(names) >= LISTING_PAYS_FROM:
            there[folder] = _listed(folder)
            continue
        few = sorted(names) if most_lookups is None else sorted(names)[: max(most_lookups, 0)]
        most_lookups = None if most_lookups is None else most_lookups - len(few)
        unseen += len(names) - len(few)
        there[folder] = names - {name for name in few if not os.path.isfile(os.path.join(folder, name))}
    lacking = {path for path, (folder, name) in places.items() if name not in there[folder]}
    return [clip.clip_id for clip in clips if lacking.intersection((clip.video_path, clip.audio_path))], unseen


def _listed(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def _files(clip: Clip) -> tuple[str, ...]:
    return tuple(os.path.normpath(path) for path in (clip.video_path, clip.audio_path) if path)
