"""Joins the done-markers of all planned shards into index.parquet, failures.jsonl and, last, dataset.json.

Clips of excluded.jsonl are left out of the first two, so that each clip of the manifest is in exactly one of
index.parquet, failures.jsonl and excluded.jsonl. The shards still hold them, and so do the sums of log-mel that the
shards' markers carry and that become dataset.json's mean and deviation.

Markers are read one after the other. What is kept of them takes about 110 bytes a clip and the text of its id and key,
250 bytes a clip that failed, 1 kB a shard.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep import schema
from avprep.build.band_sums import BandSums, band_sums
from avprep.build.destination import destination_of
from avprep.build.manifest_lists import write_manifest_lists
from avprep.build.parts import PARTS, ROWS, digests_of, parts_of
from avprep.build.shards import PlannedShard, read_marker, read_plan
from avprep.dataset import integrity
from avprep.dataset.reading import categories
from avprep.errors import UserError
from avprep.shared import names, store
from avprep.shared.arrow import column_of, numbers_of, table_of
from avprep.shared.commands import Progress
from avprep.shared.values import speaking_of

STATISTICS_SPLIT = "train"
SHARD_FACTS = ("bytes", "sha256", "sizes_bytes", "sizes_sha256")
FAILURE_FIELDS = ("clip_id", "path", "reason", "detail")
SHOWN_FAILURES = 20


class Failures:
    """The lines of failures.jsonl, given in any order; counts by reason."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self._rows = array("q")
        self._lines: list[bytes] = []

    def add(self, failure: dict[str, Any]) -> None:
        """Add a failure of a shard's marker."""
        self._lines.append(store.json_line({name: failure[name] for name in FAILURE_FIELDS}))
        self._rows.append(failure["row"])
        self.reasons[failure["reason"]] += 1

    def lines(self) -> Iterator[bytes]:
        """The lines in manifest order."""
        return (self._lines[position] for position in np.argsort(np.array(self._rows), kind="stable").tolist())


class Gathered:
    """What the markers of a plan's shards come to, without the clips `excluded`: index, failures, sums.

    Add them in the plan's order. `out` is the dataset folder.
    """

    def __init__(self, out: Path, excluded: set[str]) -> None:
        self.clips = 0
        self.failures = Failures()
        self.facts: dict[str, dict[str, Any]] = {}
        self.per_class: Counter[tuple[str, int]] = Counter()
        self.trained, self.others = BandSums(), BandSums()
        self._out, self._excluded = out, excluded
        self._columns = {one.name: column_of(one.type) for one in schema.INDEX_SCHEMA}

    def add(self, shard: PlannedShard, marker: dict[str, Any]) -> None:
        """Add a shard. Errors: ArithmeticError, LookupError, TypeError, ValueError where `marker` is none; UserError of
        band_sums.
        """
        rows = [
            {**clip, "sizes_position": position}
            for clip, position in zip(marker["clips"], _sizes_positions(marker), strict=True)
            if clip["clip_id"] not in self._excluded
        ]
        common = {"split": shard.split, "label": shard.class_id, "shard": shard.path}
        for name, column in self._columns.items():
            column.extend([common[name]] * len(rows) if name in common else [row[name] for row in rows])
        for failure in marker["failures"]:
            if failure["clip_id"] not in self._excluded:
                self.failures.add(failure)
        sums = band_sums(self._out, shard.path, marker, self._excluded)
        (self.trained if shard.split == STATISTICS_SPLIT else self.others).add(sums)
        self.facts[shard.path] = {name: marker[name] for name in SHARD_FACTS if name in marker}
        self.per_class[shard.split, shard.class_id] += len(rows)
        self.clips += len(rows)

    def index(self) -> pa.Table:
        """The table that index.parquet holds; no shard can be added after it."""
        return table_of(self._columns, schema.INDEX_SCHEMA)


@dataclass(frozen=True)
class Totals:
    """Clips in the index; failures by reason; id and reason of the first of them in manifest order."""

    clips: int
    failures: dict[str, int]
    first_failures: list[tuple[str, str]]
    emptied: dict[str, int]
    """splits of which no clip is left, and how many the manifest has of them"""


def emptied_lines(emptied: dict[str, int]) -> list[str]:
    """A sentence for each split of which a build has left no clip."""
    return [
        f"the {split} split is EMPTY: not one of its {count} clips is left; failures.jsonl has the reasons"
        for split, count in emptied.items()
    ]


def finalize(out: Path | str) -> Totals:
    """Write the dataset's tables. Errors: UserError while a planned shard is missing, or where no clip is good.

    `out` is a path, or a URL as text. Where the index changes, dataset.json goes first and comes back last: a kill
    leaves the old dataset, the new one, or none until the same command has run again.
    """
    with destination_of(out) as destination:
        destination.begin()
        plan, shards = read_plan(destination.folder / schema.PLAN_BUILD)
        destination.gather(shards)
        with store.folder_lock(destination.folder, "finalizing", wait=True):
            totals = _finalize(destination.folder, plan, shards)
        destination.finalized()
    return totals


def usable_clips(out: Path) -> Iterator[str]:
    """Ids of the clips that the shards hold, excluded ones among them. Errors: as finalize."""
    for _, marker in _markers(out, *read_plan(out / schema.PLAN_BUILD)):
        yield from (clip["clip_id"] for clip in marker["clips"])


def excluded_clips(out: Path) -> list[dict[str, str]]:
    """The lines of excluded.jsonl: clip_id, reason, date of each clip taken out on request."""
    path = out / schema.EXCLUDED
    return store.read_json_lines(path) if path.exists() else []


def _finalize(out: Path, plan: dict[str, Any], shards: list[PlannedShard]) -> Totals:
    gathered = gather(out, plan, shards)
    values = write_tables(out, plan, gathered, out)
    write_manifest_lists(out)
    store.write_json(out / schema.DATASET, values)
    return totals_of(gathered, shards)


def gather(out: Path, plan: dict[str, Any], shards: list[PlannedShard]) -> Gathered:
    """What the done-markers of all shards make together. Errors: UserError where one is missing or of another plan."""
    gathered = Gathered(out, {clip["clip_id"] for clip in excluded_clips(out)})
    with Progress(len(shards), "shards", "join", from_seconds=2) as progress:
        for shard, marker in _markers(out, plan, shards):
            with speaking_of(names.inside(out, schema.marker_path(shard.path))):
                gathered.add(shard, marker)
            progress.advance()
    return gathered


def write_tables(out: Path, plan: dict[str, Any], gathered: Gathered, tables: Path) -> dict[str, Any]:
    """The values of dataset.json, once failures.jsonl and index.parquet are written in the folder `tables`.

    plan/manifest.parquet is there. Where the index of `tables` changes, its dataset.json is removed first. Errors:
    UserError where no clip is good.
    """
    store.write_lines(tables / schema.FAILURES, gathered.failures.lines())
    if not gathered.clips:
        count = sum(gathered.failures.reasons.values())
        raise UserError(f"Not one of {count} clips could be used; {tables / schema.FAILURES} has the reason of each.")
    table = gathered.index()
    _check(table, plan, gathered.facts, out)
    with store.atomic_path(tables / schema.INDEX) as temporary:
        pq.write_table(table, temporary)
        index = tables / schema.INDEX
        if not index.exists() or store.sha256(index) != store.sha256(temporary):
            (tables / schema.DATASET).unlink(missing_ok=True)
    return dataset_values(tables, plan, gathered)


def totals_of(gathered: Gathered, shards: list[PlannedShard]) -> Totals:
    """What is reported of a dataset."""
    first = map(json.loads, itertools.islice(gathered.failures.lines(), SHOWN_FAILURES))
    planned: Counter[str] = Counter()
    for shard in shards:
        planned[shard.split] += len(shard.rows)
    left = {split for (split, _), count in gathered.per_class.items() if count}
    return Totals(
        gathered.clips,
        dict(gathered.failures.reasons),
        [(failure["clip_id"], failure["reason"]) for failure in first],
        {split: count for split, count in sorted(planned.items()) if split not in left},
    )


def _sizes_positions(marker: dict[str, Any]) -> list[int]:
    """Position of each clip's first frame in the shard's frame sizes; -1 without frame sizes."""
    counts = [clip["num_frames"] for clip in marker["clips"]]
    if "sizes_bytes" not in marker:
        return [-1] * len(counts)
    return [0, *itertools.accumulate(counts)][: len(counts)]


def _markers(
    out: Path, plan: dict[str, Any], shards: list[PlannedShard]
) -> Iterator[tuple[PlannedShard, dict[str, Any]]]:
    """Each planned shard with its marker, one at a time. Errors: UserError, first where one is missing."""
    paths = [names.inside(out, schema.marker_path(shard.path)) for shard in shards]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(paths)} planned shards of {out} are not built yet, the first is "
            f"{missing[0].relative_to(out)}; run build-shards for their partitions."
        )
    digest_of = digests_of(parts_of(plan, shards))
    for shard, path in zip(shards, paths, strict=True):
        marker = read_marker(out, shard)
        if marker["config_digest"] != digest_of(shard):
            raise UserError(f"{path} belongs to a build with other options; delete it and run build-shards again.")
        yield shard, marker


def _check(table: pa.Table, plan: dict[str, Any], facts: dict[str, dict[str, Any]], out: Path) -> None:
    """Raise UserError where a done-marker speaks of bytes that its shard does not have."""
    columns = {name: numbers_of(table.column(name)) for name in integrity.NUMBERS}
    shards, shard = categories(table.column("shard"))
    info = {**plan["config"], "class_names": plan["class_names"], "shards": facts}
    integrity.check_index(columns, shards, shard, info, out / "shards")


def dataset_values(out: Path, plan: dict[str, Any], gathered: Gathered) -> dict[str, Any]:
    """What dataset.json holds; index.parquet and plan/manifest.parquet of `out` must be written."""
    class_names = plan["class_names"]
    counts: dict[str, dict[str, int]] = {}
    for (split, label), count in gathered.per_class.items():
        if count:
            counts.setdefault(split, dict.fromkeys(class_names, 0))[class_names[label]] = count
    return {
        "format": schema.FORMAT,
        "video": plan["config"]["video"],
        "audio": plan["config"]["audio"],
        "class_names": class_names,
        "counts": counts,
        "logmel": _statistics(gathered),
        "shards": gathered.facts,
        "index_sha256": store.sha256(out / schema.INDEX),
        "manifest_sha256": store.sha256(out / schema.PLAN_MANIFEST),
        "config_digest": plan["config_digest"],
        "versions": plan["versions"],
        **({PARTS: [_shown(part) for part in plan[PARTS]]} if PARTS in plan else {}),
    }


def _shown(part: dict[str, Any]) -> dict[str, Any]:
    """What dataset.json holds of a part of several."""
    return {"clips": part[ROWS], "config_digest": part["config_digest"], "versions": part["versions"]}


def _statistics(gathered: Gathered) -> dict[str, Any]:
    """Mean and deviation of each mel band over all stored frames of the train split (of all, if it has none)."""
    sums, split = (gathered.trained, STATISTICS_SPLIT) if gathered.trained.frames else (gathered.others, "all")
    mean = sums.total("sum") / sums.frames
    deviation = np.sqrt(np.maximum(sums.total("sum_of_squares") / sums.frames - mean**2, 0.0))
    return {"split": split, "frames": sums.frames, "mean": mean.tolist(), "std": deviation.tolist()}
