"""The manifest: one Clip a row, in CSV, JSONL or Parquet. Read, checked as a whole, written.

Columns: label; video_path and / or audio_path (relative to the manifest's folder, or absolute; without audio_path
the sound is the video file's); optional clip_id, split (default train), start_seconds, end_seconds, group
(clips that must not be in two splits, also where a validation set is drawn; default: the source file), cluster
(clips that vary together, such as cuts of one recording: intervals and tests go by it; default: the group), labels (all
labels of a clip that may have several, a list or with ; between them; the first is the label where that is not given).
Other columns are ignored.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from avprep.errors import ManifestError
from avprep.manifest.addresses import wrong_address
from avprep.manifest.checks import SPLIT_SPELLINGS
from avprep.manifest.clips import COLUMNS, NUMBERS, SEPARATOR, Clip, Clips, columns_of, hashed, repeated
from avprep.manifest.table_options import TableOptions
from avprep.manifest.tables import Wanted, kind_of, read_table
from avprep.shared import store
from avprep.shared.errors import listed
from avprep.shared.text import as_text
from avprep.shared.urls import is_url

SPLIT_PATTERN = re.compile(r"[a-z0-9][a-z0-9_]{0,30}")
MOST_LABEL_CHARACTERS = 1000
LISTS = "labels"
AS_MANIFEST = TableOptions()
WANTED = Wanted(
    COLUMNS,
    (("label", "labels"), ("video_path", "audio_path")),
    "add one, or have one renamed by 'avprep manifest table --rename OLD=NEW'",
)

log = logging.getLogger(__name__)


def read_manifest(path: Path, as_stored: bool = False) -> Clips:
    """The clips of a manifest file, checked; ManifestError with all problems, not just the first.

    Splits of other known spellings, such as Training, become ours, but `as_stored`.
    """
    clips, problems = read_clips(path, as_stored=as_stored)
    problems += check(clips)
    if problems:
        raise unusable(path, problems)
    return clips


def read_clips(path: Path, options: TableOptions = AS_MANIFEST, as_stored: bool = False) -> tuple[Clips, list[str]]:
    """(clips of the good rows, what is wrong with the other rows) of a table, by default of a manifest's own columns.

    `as_stored`: as for read_manifest.

    Errors: ManifestError where the file as a whole cannot be read.
    """
    problems: list[str] = []
    spellings = {} if as_stored else SPLIT_SPELLINGS
    clips = Clips(_good_rows(path, options, spellings, problems))
    if not clips and not problems:
        problems.append("it has no rows")
    return clips, problems


def _good_rows(path: Path, options: TableOptions, spellings: Mapping[str, str], problems: list[str]) -> Iterator[Clip]:
    trimmed = 0
    fields = options.fields()
    wanted = dataclasses.replace(WANTED, needed=WANTED.needed[:1]) if fields else WANTED
    for where, row in read_table(path, wanted, options.renamed, options.columns, fields):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            clip = _clip(row, spellings, options)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        given = as_text(row.get("label"), "label")
        trimmed += given != given.strip()
        yield clip
    if trimmed:
        log.warning("%s: spaces around the label were dropped in %d rows", path.name, trimmed)


def check(clips: Clips) -> list[str]:
    """Problems between rows: clip ids of several rows."""
    suspects = set(repeated(hashed(clips.values("clip_id"))).tolist())
    counts = Counter(clip_id for clip_id in clips.values("clip_id") if hash(clip_id) in suspects) if suspects else {}
    return [f"clip_id {clip_id!r} is in {count} rows" for clip_id, count in counts.items() if count > 1]


def unusable(path: Path, problems: list[str]) -> ManifestError:
    """The error that lists the problems of a manifest."""
    return ManifestError(f"{path} cannot be used:{listed(problems)}")


def write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips to `path`, in the format of its suffix, atomically."""
    kind = kind_of(path)
    clips = clips if isinstance(clips, Sequence) else list(clips)
    names = columns_of(lambda name: any(getattr(clip, name) for clip in clips))
    values_of = attrgetter(*names)
    with store.atomic_path(path) as temporary:
        if kind == "parquet":
            write_parquet(temporary, Clips(clips))
        elif kind == "jsonl":
            with open(temporary, "w", encoding="utf-8") as lines:
                rows = (dict(zip(names, values_of(clip), strict=True)) for clip in clips)
                lines.writelines(store.json_text(row) + "\n" for row in rows)
        else:
            with open(temporary, "w", encoding="utf-8", newline="") as table:
                writer = csv.writer(table)
                writer.writerow(names)
                writer.writerows(map(values_of, clips))


def write_parquet(path: Path, clips: Clips) -> None:
    """Write clips as Parquet under exactly this path."""
    import pyarrow.parquet as pq

    pq.write_table(clips.table(), path)


def written_path(path: Path | str, relative_to: Path) -> str:
    """`path` as a manifest in the folder `relative_to` names it; ManifestError where it is no UTF-8."""
    folder, name = os.path.split(path)
    written = os.path.join(_from_to(str(relative_to), folder), name)
    try:
        written.encode()
    except UnicodeEncodeError:
        raise ManifestError(f"The name of {os.fsencode(path)!r} is not UTF-8; rename the file.") from None
    return os.path.normpath(written)


@lru_cache(maxsize=4096)
def _from_to(begin: str, end: str) -> str:
    """The way from one folder to another, links resolved."""
    return os.path.relpath(os.path.realpath(end), os.path.realpath(begin))


def _clip(row: Mapping[str, Any], spellings: Mapping[str, str], options: TableOptions) -> Clip:
    text = {
        name: as_text(row[name], name, whole=name not in NUMBERS) for name in COLUMNS if name in row and name != LISTS
    }
    if row.get("clip_id") != row.get("clip_id"):  # NaN alone differs from itself
        raise ValueError("clip_id is NaN; store ids as text")
    labels = options.labels(row[LISTS]) if LISTS in row else []
    label, split = options.name(text.get("label", "").strip()), text.get("split") or options.split or "train"
    label = label or next(iter(labels), "")
    video = options.path(options.video_path, row) if options.video_path else text.get("video_path", "")
    audio = options.path(options.audio_path, row) if options.audio_path else text.get("audio_path", "")
    source = video or audio
    if not source:
        raise ValueError("neither video_path nor audio_path")
    wrong = [problem for path in (video, audio) if is_url(path) and (problem := wrong_address(path))]
    if wrong:
        raise ValueError(wrong[0])
    if any("\0" in value for value in (*text.values(), *labels, video, audio)):
        raise ValueError("a NUL character")
    if not label:
        raise ValueError("no label")
    longest = max(map(len, (label, *labels)))
    if longest > MOST_LABEL_CHARACTERS:
        raise ValueError(f"a label of {longest} characters, the limit is {MOST_LABEL_CHARACTERS}")
    if labels and label not in labels:
        raise ValueError(f"the label {label!r} is not among its labels, {SEPARATOR.join(labels)!r:.80}")
    split = spellings.get(split.strip().casefold(), split)
    if not SPLIT_PATTERN.fullmatch(split):
        raise ValueError(f"split {split!r} is not a word of a-z, 0-9 and _")
    start, end = (_seconds(text.get(name, ""), name) for name in ("start_seconds", "end_seconds"))
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"end_seconds {end} is not after start_seconds {start or 0.0}")
    spans = "" if start is None and end is None else f"@{start or 0.0}-{'' if end is None else end}"
    return Clip(
        clip_id=text.get("clip_id") or source + spans,
        label=label,
        split=split,
        video_path=video,
        audio_path=audio,
        start_seconds=start,
        end_seconds=end,
        group=text.get("group") or source,
        cluster=text.get("cluster", ""),
        labels=SEPARATOR.join(labels),
    )


def _seconds(text: str, name: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} {text!r} is not a time of 0 s or later")
    return value
