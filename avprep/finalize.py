"""Joins the done-markers of all planned shards into index.parquet, failures.jsonl and, last, dataset.json.

Clips of excluded.jsonl are left out of the first two, so that each clip of the manifest stands in exactly one of
index.parquet, failures.jsonl and excluded.jsonl. The shards still hold them, and so do the sums of log-mel that the
shards' markers carry and that become dataset.json's mean and deviation.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep import schema
from avprep.errors import UserError
from avprep.shared import store

STATISTICS_SPLIT = "train"
SHARD_FACTS = ("bytes", "sha256", "sizes_bytes", "sizes_sha256")


@dataclass(frozen=True)
class ShardSums:
    """What dataset.json needs of a shard: its split, sizes and digests, log-mel sums."""

    split: str
    facts: dict[str, Any]
    logmel: dict[str, Any]


@dataclass(frozen=True)
class Gathered:
    """What the markers come to: the index by column, the lines of failures.jsonl in manifest order, shard sums."""

    columns: dict[str, list[Any]] = field(default_factory=lambda: {one.name: [] for one in schema.INDEX_SCHEMA})
    failures: list[dict[str, Any]] = field(default_factory=list)
    shards: list[ShardSums] = field(default_factory=list)

    @property
    def clips(self) -> int:
        """Rows of the index."""
        return len(self.columns["clip_id"])


@dataclass(frozen=True)
class Totals:
    """Clips in the index and failures in manifest order."""

    clips: int
    failures: list[dict[str, Any]]


def finalize(out: Path) -> Totals:
    """Write the dataset's tables. Errors: UserError while a planned shard lacks, or where no clip is good.

    Where the index changes, dataset.json goes first and comes back last: a kill leaves the old dataset, the new one,
    or none until the same command has run again.
    """
    plan = store.read_json(out / schema.PLAN_BUILD)
    with store.folder_lock(out, "finalizing", wait=True):
        return _finalize(out, plan)


def usable_clips(out: Path) -> set[str]:
    """Ids of the clips that the shards hold, excluded ones among them. Errors: as finalize."""
    markers = _markers(out, store.read_json(out / schema.PLAN_BUILD))
    return {clip["clip_id"] for marker in markers for clip in marker["clips"]}


def excluded_clips(out: Path) -> list[dict[str, str]]:
    """The lines of excluded.jsonl: clip_id, reason, date of each clip taken out on request."""
    path = out / schema.EXCLUDED
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except ValueError as error:
        raise UserError(f"{path} is not one JSON object a line ({error}); correct that line by hand.") from None


def _finalize(out: Path, plan: dict[str, Any]) -> Totals:
    excluded = {clip["clip_id"] for clip in excluded_clips(out)}
    found = gather(plan, _markers(out, plan), excluded)
    store.write_json_lines(out / schema.FAILURES, found.failures)
    if not found.clips:
        raise UserError(
            f"Not one of {len(found.failures)} clips could be used; {out / schema.FAILURES} says why for each."
        )
    with store.atomic_path(out / schema.INDEX) as temporary:
        pq.write_table(index_table(found), temporary)
        index = out / schema.INDEX
        if not index.exists() or store.sha256(index) != store.sha256(temporary):
            (out / schema.DATASET).unlink(missing_ok=True)
    store.write_json(out / schema.DATASET, dataset_values(out, plan, found))
    return Totals(found.clips, found.failures)


def gather(plan: dict[str, Any], markers: Iterable[dict[str, Any]], excluded: set[str]) -> Gathered:
    """Columns and sums of the plan's shards, whose `markers` come in its order, without the clips `excluded`.

    Only columns are kept, so that markers may be read one after the other: they are many times as large.
    """
    found = Gathered()
    failures = []
    for shard, marker in zip(plan["shards"], markers, strict=True):
        rows = [
            {**clip, "sizes_position": position}
            for clip, position in zip(marker["clips"], _sizes_positions(marker), strict=True)
            if clip["clip_id"] not in excluded
        ]
        common = {"split": shard["split"], "label": shard["class_id"], "shard": shard["path"]}
        for name, column in found.columns.items():
            column.extend([common[name]] * len(rows) if name in common else [row[name] for row in rows])
        failures += [failure for failure in marker["failures"] if failure["clip_id"] not in excluded]
        facts = {name: marker[name] for name in SHARD_FACTS if name in marker}
        found.shards.append(ShardSums(shard["split"], facts, marker["logmel"]))
    failures.sort(key=lambda failure: failure["row"])
    found.failures.extend(
        {name: failure[name] for name in ("clip_id", "path", "reason", "detail")} for failure in failures
    )
    return found


def index_table(found: Gathered) -> pa.Table:
    """The table that index.parquet holds."""
    columns = {one.name: pa.array(found.columns[one.name], one.type) for one in schema.INDEX_SCHEMA}
    return pa.table(columns, schema=schema.INDEX_SCHEMA)


def _sizes_positions(marker: dict[str, Any]) -> list[int]:
    """Where each clip's first frame stands in the shard's frame sizes; -1 where there are none."""
    counts = [clip["num_frames"] for clip in marker["clips"]]
    if "sizes_bytes" not in marker:
        return [-1] * len(counts)
    return [0, *itertools.accumulate(counts)][: len(counts)]


def _markers(out: Path, plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The markers of the plan's shards, in its order, one at a time. Errors: UserError, first where one lacks."""
    paths = [out / schema.marker_path(shard["path"]) for shard in plan["shards"]]
    lacking = [path for path in paths if not path.exists()]
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(paths)} planned shards of {out} are not built yet, the first is "
            f"{lacking[0].relative_to(out)}; run build-shards for their partitions."
        )
    for path in paths:
        marker = store.read_json(path)
        if marker["config_digest"] != plan["config_digest"]:
            raise UserError(f"{path} belongs to a build with other options; delete it and run build-shards again.")
        yield marker


def dataset_values(out: Path, plan: dict[str, Any], found: Gathered) -> dict[str, Any]:
    """What dataset.json holds; index.parquet of `out` must be written."""
    names = plan["class_names"]
    counts: dict[str, dict[str, int]] = {}
    of_class = Counter(zip(found.columns["split"], found.columns["label"], strict=True))
    for (split, label), count in of_class.items():
        counts.setdefault(split, dict.fromkeys(names, 0))[names[label]] = count
    return {
        "format": schema.FORMAT,
        "video": plan["config"]["video"],
        "audio": plan["config"]["audio"],
        "class_names": names,
        "counts": counts,
        "logmel": _statistics(found.shards),
        "shards": {planned["path"]: shard.facts for planned, shard in zip(plan["shards"], found.shards, strict=True)},
        "index_sha256": store.sha256(out / schema.INDEX),
        "manifest_sha256": store.sha256(out / schema.PLAN_MANIFEST),
        "config_digest": plan["config_digest"],
        "versions": plan["versions"],
    }


def _statistics(shards: list[ShardSums]) -> dict[str, Any]:
    """Mean and deviation of each mel band over all stored frames of the train split (of all, if it has none)."""
    heard = [shard for shard in shards if shard.logmel["frames"]]
    chosen = [shard.logmel for shard in heard if shard.split == STATISTICS_SPLIT]
    split = STATISTICS_SPLIT if chosen else "all"
    chosen = chosen or [shard.logmel for shard in heard]
    frames = sum(part["frames"] for part in chosen)
    mean = np.array([math.fsum(band) for band in zip(*(part["sum"] for part in chosen), strict=True)]) / frames
    square = np.array([math.fsum(band) for band in zip(*(part["sum_of_squares"] for part in chosen), strict=True)])
    deviation = np.sqrt(np.maximum(square / frames - mean**2, 0.0))
    return {"split": split, "frames": frames, "mean": mean.tolist(), "std": deviation.tolist()}
