"""The manifest: one Clip a row, in CSV, JSONL or Parquet. Read, checked as a whole, written.

Columns: label; video_path and / or audio_path (relative to the manifest's folder, or absolute; without audio_path
the sound is the video file's); optional clip_id, split (default train), start_seconds, end_seconds, group
(clips that belong together when a validation set is drawn; default: the source file). Other columns are ignored.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from avprep.errors import ManifestError
from avprep.shared.store import atomic_path

COLUMNS = ("clip_id", "label", "split", "video_path", "audio_path", "start_seconds", "end_seconds", "group")
SPLIT_PATTERN = re.compile(r"[a-z0-9][a-z0-9_]{0,30}")
SHOWN_PROBLEMS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest; paths as written there, '' where a clip lacks that track."""

    clip_id: str
    label: str
    split: str = "train"
    video_path: str = ""
    audio_path: str = ""
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str = ""

    @property
    def source(self) -> str:
        """The path that stands for the clip in messages."""
        return self.video_path or self.audio_path


def read_manifest(path: Path) -> list[Clip]:
    """The clips of a manifest file, checked; ManifestError with every problem found, not just the first."""
    rows = _read_rows(path)
    clips: list[Clip] = []
    problems: list[str] = []
    for number, row in enumerate(rows, start=1):
        try:
            clips.append(_clip(row))
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    problems += check(clips)
    if not rows:
        problems.append("it has no rows")
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        listed = "".join(f"\n  {problem}" for problem in problems[:SHOWN_PROBLEMS])
        raise ManifestError(f"{path} cannot be used:{listed}" + (f"\n  and {more} more" if more > 0 else ""))
    return clips


def check(clips: Iterable[Clip]) -> list[str]:
    """What is wrong between rows: clip ids that stand twice."""
    counts = Counter(clip.clip_id for clip in clips)
    return [f"clip_id {clip_id!r} stands {count} times" for clip_id, count in counts.items() if count > 1]


def write_manifest(path: Path, clips: list[Clip]) -> None:
    """Write clips to `path`, in the format of its suffix, atomically."""
    kind = _kind(path)
    with atomic_path(path) as temporary:
        if kind == "parquet":
            write_parquet(temporary, clips)
        elif kind == "jsonl":
            with open(temporary, "w", encoding="utf-8") as lines:
                lines.writelines(json.dumps(dataclasses.asdict(clip), ensure_ascii=False) + "\n" for clip in clips)
        else:
            with open(temporary, "w", encoding="utf-8", newline="") as table:
                writer = csv.DictWriter(table, COLUMNS)
                writer.writeheader()
                writer.writerows(dataclasses.asdict(clip) for clip in clips)


def write_parquet(path: Path, clips: list[Clip]) -> None:
    """Write clips as Parquet under exactly this path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = {"start_seconds", "end_seconds"}
    columns = {
        name: pa.array([getattr(clip, name) for clip in clips], pa.float64() if name in numbers else pa.string())
        for name in COLUMNS
    }
    pq.write_table(pa.table(columns), path)


def written_path(path: Path | str, relative_to: Path) -> str:
    """`path` as a manifest in the folder `relative_to` names it; ManifestError where it is no UTF-8."""
    folder, name = os.path.split(path)
    written = os.path.join(os.path.relpath(os.path.realpath(folder), os.path.realpath(relative_to)), name)
    try:
        written.encode()
    except UnicodeEncodeError:
        raise ManifestError(f"The name of {os.fsencode(path)!r} is not UTF-8; rename the file.") from None
    return os.path.normpath(written)


def held_out_by_class(labels: list[str], share: float, seed: int) -> list[bool]:
    """A seeded, stratified choice: True for round(share * n) clips of each class, 1 to n - 1; none of a single clip."""
    generator = np.random.default_rng([seed, 0x5EED])
    chosen = [False] * len(labels)
    for label in sorted(set(labels)):
        rows = [row for row, other in enumerate(labels) if other == label]
        count = min(max(round(share * len(rows)), 1), len(rows) - 1) if share > 0 else 0
        for position in generator.permutation(len(rows))[:count]:
            chosen[rows[position]] = True
    return chosen


def _kind(path: Path) -> str:
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("csv", "jsonl", "parquet"):
        raise ManifestError(f"{path}: a manifest's name ends in .csv, .jsonl or .parquet.")
    return kind


def _read_rows(path: Path) -> list[dict[str, Any]]:
    kind = _kind(path)
    if not path.is_file():
        raise ManifestError(f"{path} does not exist; 'avprep manifest' writes one.")
    try:
        if kind == "parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(path)
            return table.select([name for name in COLUMNS if name in table.column_names]).to_pylist()
        with open(path, encoding="utf-8-sig", newline="") as text:
            if kind == "csv":
                return list(csv.DictReader(text))
            return [json.loads(line) for line in text if line.strip()]
    except (ValueError, OSError, csv.Error) as error:
        raise ManifestError(f"{path} is not readable as {kind}: {error}.") from None


def _clip(row: dict[str, Any]) -> Clip:
    if not isinstance(row, dict):
        raise ValueError("not an object")
    text = {name: "" if row.get(name) is None else str(row[name]) for name in COLUMNS}
    if not (text["video_path"] or text["audio_path"]):
        raise ValueError("neither video_path nor audio_path")
    if any("\0" in value for value in text.values()):
        raise ValueError("a NUL character")
    if not text["label"].strip():
        raise ValueError("no label")
    split = text["split"] or "train"
    if not SPLIT_PATTERN.fullmatch(split):
        raise ValueError(f"split {split!r} is not a word of a-z, 0-9 and _")
    start, end = _seconds(text["start_seconds"], "start_seconds"), _seconds(text["end_seconds"], "end_seconds")
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"end_seconds {end} is not after start_seconds {start or 0.0}")
    source = text["video_path"] or text["audio_path"]
    spans = "" if start is None and end is None else f"@{start or 0.0}-{'' if end is None else end}"
    return Clip(
        clip_id=text["clip_id"] or source + spans,
        label=text["label"].strip(),
        split=split,
        video_path=text["video_path"],
        audio_path=text["audio_path"],
        start_seconds=start,
        end_seconds=end,
        group=text["group"] or source,
    )


def _seconds(text: str, name: str) -> float | None:
    if not text:
        return None
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} {text!r} is not a time of 0 s or later")
    return value
