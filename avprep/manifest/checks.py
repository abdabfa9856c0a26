"""Checks over all rows of a manifest: repeats, leaks, missing files, labels that look alike."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avprep.manifest.addresses import address_of, path_here
from avprep.manifest.clips import Clip, hashed, repeated
from avprep.shared.errors import some_of

KNOWN_SPLITS = ("train", "val", "test")
SPLIT_SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""what people call the splits, in any case"""
NEEDED_BY = {
    "train": "'avtrain pretrain' and 'avtrain evaluate' need",
    "test": "'avtrain evaluate' needs ('avprep manifest' draws one by --test-share)",
}
LISTING_PAYS_FROM = 16  # files wanted of one folder
MOST_LOOKUPS = 5_000  # single files looked for where listing does not pay


@dataclasses.dataclass
class Report:
    """All findings about a dataset: names of files, clip ids, sources in two splits, labels."""

    missing: list[str] = dataclasses.field(default_factory=list)
    duplicates: list[str] = dataclasses.field(default_factory=list)
    same_media: list[str] = dataclasses.field(default_factory=list)
    unknown_splits: list[str] = dataclasses.field(default_factory=list)
    excluded: list[str] = dataclasses.field(default_factory=list)
    strangers: list[str] = dataclasses.field(default_factory=list)
    foreign: list[str] = dataclasses.field(default_factory=list)
    leaks: list[str] = dataclasses.field(default_factory=list)
    dropped_leaks: list[str] = dataclasses.field(default_factory=list)
    similar_labels: list[str] = dataclasses.field(default_factory=list)
    nested: list[str] = dataclasses.field(default_factory=list)
    unnamed: list[str] = dataclasses.field(default_factory=list)
    classless: list[str] = dataclasses.field(default_factory=list)
    """`SPLIT: LABEL` of classes that have no clip in a split that was drawn"""
    emptied: list[str] = dataclasses.field(default_factory=list)
    """splits of which no clip has a file"""
    no_split: list[str] = dataclasses.field(default_factory=list)
    """splits that are needed and have no clip"""
    unlabelled: list[str] = dataclasses.field(default_factory=list)
    no_length: list[str] = dataclasses.field(default_factory=list)
    absent: list[str] = dataclasses.field(default_factory=list)
    all_kept: bool = False
    """whether the clips of all findings are kept: a build leaves nothing out"""
    missing_kept: bool = False
    """whether clips without a file are kept"""

    def lines(self) -> list[str]:
        """A sentence for each kind of finding that occurred."""
        out = "" if self.all_kept else " and were left out"
        leaks = "" if self.all_kept or self.dropped_leaks else " (--drop-leaks takes their training clips out)"
        sentences = {
            "missing": "clips have no file" + (" and will fail" if self.all_kept or self.missing_kept else out),
            "duplicates": "rows repeat a clip_id and were left out",
            "same_media": "clips are the same span of the same file as one before",
            "unknown_splits": "rows are of no known split (train, val, test)" + out,
            "unlabelled": "clips have no label and were left out",
            "no_length": "spans have no length and were left out",
            "absent": "names of a list are in no row of the metadata",
            "excluded": "clips were left out as the exclusion list asks",
            "foreign": "folders that a system or a tool made were skipped",
            "strangers": "ids of the exclusion list name no clip of the metadata",
            "leaks": "sources are in two splits" + leaks,
            "dropped_leaks": "training clips were left out, since their source is also in test or val",
            "similar_labels": "sets of labels differ in case, spaces or Unicode form alone and stay apart",
            "nested": "classes have all clips in sub-folders; if those are classes, give the folder above as --root",
            "unnamed": "media files below --root are in no row",
        }
        findings = ((getattr(self, name), sentence) for name, sentence in sentences.items())
        lines = [f"{len(items)} {sentence}, such as {items[0]}" for items, sentence in findings if items]
        return [*lines, *self._of_splits()]

    def _of_splits(self) -> Iterator[str]:
        """Sentences on splits and classes that have too little."""
        drawn: dict[str, list[str]] = defaultdict(list)
        for item in self.classless:
            split, _, label = item.partition(": ")
            drawn[split].append(label)
        for split, labels in drawn.items():
            yield (
                f"{len(labels)} classes have no clip in the {split} split as it was drawn, {some_of(labels)}; other "
                "shares or another --seed may give them one"
            )
        for split in self.emptied:
            yield f"no clip of the {split} split has a file, so it will be empty"
        for split in self.no_split:
            yield f"no clip is in the {split} split, which {NEEDED_BY[split]}"

    def as_dict(self) -> dict[str, list[str]]:
        """Every finding in full, for JSON."""
        return {name: items for name, items in dataclasses.asdict(self).items() if isinstance(items, list)}


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
    unique = list(kept.values())
    compare(unique, report)
    if not drop_leaks:
        return unique
    leaking = set(report.leaks)
    dropped = {c.clip_id for c in unique if c.split == "train" and leaking.intersection((c.group, *_files(c)))}
    report.dropped_leaks = [clip.clip_id for clip in unique if clip.clip_id in dropped]
    return [clip for clip in unique if clip.clip_id not in dropped]


def examine(
    clips: Sequence[Clip], to_build: np.ndarray, root: Path | str, most_lookups: int | None = MOST_LOOKUPS
) -> Report:
    """What a build reports before it decodes: findings between `clips`, and which rows `to_build` have no file.

    `to_build` is bool [clips].
    """
    report = Report(all_kept=True)
    report.missing, _ = missing(clips, root, most_lookups, to_build)
    report.emptied = _emptied(clips, set(report.missing))
    report.no_split = missing_splits(clips)
    report.unknown_splits = [f"{clip.clip_id} ({clip.split})" for clip in clips if clip.split not in KNOWN_SPLITS]
    compare(clips, report)
    return report


def missing_splits(clips: Iterable[Clip]) -> list[str]:
    """The splits that training and evaluation need and that have no clip."""
    there = {clip.split for clip in clips}
    return [split for split in NEEDED_BY if split not in there]


def _emptied(clips: Sequence[Clip], gone: set[str]) -> list[str]:
    """Splits of which every clip is among those `gone`."""
    left = {clip.split for clip in clips if clip.clip_id not in gone} if gone else None
    return sorted({clip.split for clip in clips} - left) if left is not None else []


def compare(clips: Sequence[Clip], report: Report) -> None:
    """Report same media under two ids, sources (groups, or files) in two splits, labels that look alike.

    Hashes, of 8 bytes for each source, select the clips that may match; only those are compared by their text.
    """
    spans = array("q")
    sources: dict[str, array[int]] = defaultdict(lambda: array("q"))
    labels = set()
    for clip in clips:
        files = _files(clip)
        spans.append(hash(_span(clip, files)))
        sources[clip.split].extend(map(hash, {clip.group, *files}))
        labels.add(clip.label)
    report.similar_labels = similar(labels)
    twice = set(repeated(np.frombuffer(spans, np.int64).copy()).tolist())
    of_split = [np.unique(np.frombuffer(hashes, np.int64)) for hashes in sources.values()]
    shared = set(repeated(np.concatenate([np.zeros(0, np.int64), *of_split])).tolist())
    if twice:
        report.same_media = _same_media(clips, twice)
    if shared:
        report.leaks = _leaks(clips, shared)


def _same_media(clips: Sequence[Clip], suspects: set[int]) -> list[str]:
    """Clips that are the same span as one before, of those whose span has a hash in `suspects`."""
    repeats: list[str] = []
    first: dict[tuple[Any, ...], str] = {}
    for clip in clips:
        span = _span(clip, _files(clip))
        if hash(span) in suspects and first.setdefault(span, clip.clip_id) != clip.clip_id:
            repeats.append(f"{clip.clip_id} (as {first[span]})")
    return repeats


def _leaks(clips: Sequence[Clip], suspects: set[int]) -> list[str]:
    """Sources in two splits, of those with a hash in `suspects`: groups, and files that no such group covers."""
    split_of: dict[str, str] = {}
    leaking: set[str] = set()
    for clip in clips:
        for source in (clip.group, *_files(clip)):
            if hash(source) in suspects and split_of.setdefault(source, clip.split) != clip.split:
                leaking.add(source)
    of_groups = (clip for clip in clips if clip.group in leaking)
    covered = {file for clip in of_groups for file in _files(clip) if file != clip.group and file in leaking}
    groups = {clip.group for clip in clips if clip.group in leaking}
    return sorted(leaking - (covered - groups))


def similar(labels: Collection[str]) -> list[str]:
    """Sets of labels, each as one line, that are the same but for case, spaces and Unicode normal form."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
        alike[" ".join(folded.split())].append(label)
    return [" / ".join(map(ascii, same)) for same in alike.values() if len(same) > 1]


def missing(
    clips: Sequence[Clip], root: Path | str, most_lookups: int | None = None, wanted: np.ndarray | None = None
) -> tuple[list[str], int]:
    """(ids of clips with a missing file, number of files not looked for); cheap for many clips.

    `wanted`, bool [clips], are the clips asked about; default: all. A folder of which many files are wanted is listed
    once; other files are looked for one by one, at most `most_lookups` of them. Files at URLs are not looked for.
    """
    folders, names, rows = array("q"), array("q"), array("q")
    for row, clip in enumerate(clips if wanted is None or wanted.any() else ()):
        if wanted is None or wanted[row]:
            for folder, name in _files_here(clip, root):
                folders.append(hash(folder))
                names.append(hash(name))
                rows.append(row)
    gone = np.zeros(len(clips), bool)
    unchecked = 0
    for entries in _by_value(np.frombuffer(folders, np.int64)):
        of_names, of_rows = np.frombuffer(names, np.int64)[entries], np.frombuffer(rows, np.int64)[entries]
        folder = next(own for own, _ in _files_here(clips[of_rows[0]], root) if hash(own) == folders[entries[0]])
        count = len(np.unique(of_names))
        if count >= LISTING_PAYS_FROM:
            gone[of_rows[~np.isin(of_names, _listed(folder))]] = True
            continue
        looked = count if most_lookups is None else min(count, most_lookups)
        most_lookups = None if most_lookups is None else most_lookups - looked
        unchecked += count - looked
        clips_of: dict[str, list[int]] = defaultdict(list)
        for row in of_rows.tolist() if looked else ():
            for name in (name for own, name in _files_here(clips[row], root) if own == folder):
                clips_of[name].append(row)
        for name in sorted(clips_of)[:looked]:
            if not os.path.isfile(os.path.join(folder, name)):
                gone[clips_of[name]] = True
    return [clips[row].clip_id for row in np.flatnonzero(gone).tolist()], unchecked


def _files_here(clip: Clip, root: Path | str) -> list[tuple[str, str]]:
    """(folder, name) of each file, or archive, of a clip on this machine."""
    paths = (path for path in (clip.video_path, clip.audio_path) if path and not address_of(str(root), path))
    return [os.path.split(path_here(str(root), path)) for path in paths]


def _by_value(values: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of each distinct value, in the order in which the values first appear."""
    order = np.argsort(values, kind="stable")
    begins = np.flatnonzero(np.diff(values[order], prepend=values[order[:1]] - 1))
    ends = np.append(begins[1:], len(order))
    for group in np.argsort(order[begins]):
        yield order[begins[group] : ends[group]]


def _listed(folder: str) -> np.ndarray:
    """Hashes int64 of the names of a folder's files; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return hashed(entry.name for entry in entries if entry.is_file())
    except OSError:
        return np.zeros(0, np.int64)


def _files(clip: Clip) -> tuple[str, ...]:
    return tuple(os.path.normpath(path) for path in (clip.video_path, clip.audio_path) if path)


def _span(clip: Clip, files: tuple[str, ...]) -> tuple[Any, ...]:
    return files, clip.start_seconds or 0.0, clip.end_seconds
