"""What the adapters share: rows of a csv with or without a header, files below a root, one report of all problems."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avprep.errors import ManifestError
from avprep.manifest import Clip

KNOWN_SPLITS = ("train", "val", "test")


@dataclasses.dataclass
class Report:
    """All that is odd about a dataset on disk, told together: file names, clip ids, sources in two splits."""

    missing: list[str] = dataclasses.field(default_factory=list)
    duplicates: list[str] = dataclasses.field(default_factory=list)
    unknown_splits: list[str] = dataclasses.field(default_factory=list)
    excluded: list[str] = dataclasses.field(default_factory=list)
    leaks: list[str] = dataclasses.field(default_factory=list)
    dropped_leaks: list[str] = dataclasses.field(default_factory=list)

    def lines(self) -> list[str]:
        """A sentence for each kind of finding that occurred."""
        sentences = {
            "missing": "clips have no file below the root and were left out",
            "duplicates": "rows repeat a clip and were left out",
            "unknown_splits": "rows are of no known split and were left out",
            "excluded": "clips were left out as the exclusion list asks",
            "leaks": "sources stand in two splits (--drop-leaks takes their training clips out)",
            "dropped_leaks": "training clips were left out, since their source is also in test or val",
        }
        found = ((getattr(self, name), sentence) for name, sentence in sentences.items())
        return [f"{len(items)} {sentence}, such as {items[0]}" for items, sentence in found if items]

    def as_dict(self) -> dict[str, Any]:
        """Every finding in full, for JSON."""
        return dataclasses.asdict(self)


def read_rows(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a csv as dicts. A first row that holds one of `columns` is the header, else `columns` name the fields.

    Errors: ManifestError where the file is not there, or lacks one of `columns`.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as text:
            lines = [row for row in csv.reader(text, delimiter=delimiter) if row and not row[0].startswith("#")]
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}).") from None
    header = tuple(lines.pop(0)) if lines and set(columns) & set(lines[0]) else columns
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise ManifestError(f"{path} has no column {lacking[0]!r}; it has {', '.join(header)}.")
    for number, row in enumerate(lines, start=1):
        if len(row) < len(header):
            raise ManifestError(f"{path} row {number} has {len(row)} fields, not {len(header)}.")
    return [dict(zip(header, row, strict=False)) for row in lines]


def files_below(root: Path) -> dict[str, str]:
    """File name -> path as a string, for every file below `root` (the first in sorted order, if a name repeats)."""
    if not root.is_dir():
        raise ManifestError(f"{root} is not a folder.")
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        for name in names:
            found.setdefault(name, os.path.join(folder, name))
    return found


def settle(clips: Iterable[Clip], report: Report, drop_leaks: bool) -> list[Clip]:
    """Clips without repeats and of known splits; groups in two splits are reported, or their training clips dropped."""
    kept: dict[str, Clip] = {}
    for clip in clips:
        if clip.split not in KNOWN_SPLITS:
            report.unknown_splits.append(f"{clip.clip_id} ({clip.split or 'none'})")
        elif clip.clip_id in kept:
            report.duplicates.append(clip.clip_id)
        else:
            kept[clip.clip_id] = clip
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in kept.values():
        splits[clip.group].add(clip.split)
    report.leaks = sorted(group for group, found in splits.items() if len(found) > 1)
    if not drop_leaks:
        return list(kept.values())
    leaking = set(report.leaks)
    report.dropped_leaks = [c.clip_id for c in kept.values() if c.split == "train" and c.group in leaking]
    dropped = set(report.dropped_leaks)
    return [clip for clip in kept.values() if clip.clip_id not in dropped]
