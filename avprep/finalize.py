"""Joins the done-markers of all planned shards into index.parquet, failures.jsonl and, last, dataset.json.

Clips of excluded.jsonl are left out of the first two, so that each clip of the manifest stands in exactly one of
index.parquet, failures.jsonl and excluded.jsonl. The shards still hold them, and so do the sums of log-mel that the
shards' markers carry and that become dataset.json's mean and deviation.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
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
    markers = _markers(out, plan)
    excluded = {clip["clip_id"] for clip in excluded_clips(out)}
    failures = failure_rows(markers, excluded)
    store.write_json_lines(out / schema.FAILURES, failures)
    rows = index_rows(plan, markers, excluded)
    if not rows:
        raise UserError(f"Not one of {len(failures)} clips could be used; {out / schema.FAILURES} says why for each.")
    with store.atomic_path(out / schema.INDEX) as temporary:
        pq.write_table(index_table(rows), temporary)
        index = out / schema.INDEX
        if not index.exists() or store.sha256(index) != store.sha256(temporary):
            (out / schema.DATASET).unlink(missing_ok=True)
    store.write_json(out / schema.DATASET, dataset_values(out, plan, markers, rows))
    return Totals(len(rows), failures)


def failure_rows(markers: list[dict[str, Any]], excluded: set[str]) -> list[dict[str, Any]]:
    """The lines of failures.jsonl, in manifest order; without the clips `excluded`."""
    failures = sorted(
        (failure for marker in markers for failure in marker["failures"] if failure["clip_id"] not in excluded),
        key=lambda failure: failure["row"],
    )
    return [{name: failure[name] for name in ("clip_id", "path", "reason", "detail")} for failure in failures]


def index_rows(plan: dict[str, Any], markers: list[dict[str, Any]], excluded: set[str]) -> list[dict[str, Any]]:
    """The rows of the index without the clips `excluded`; `markers` are those of the plan's shards, in its order."""
    return [
        {
            **clip,
            "split": shard["split"],
            "label": shard["class_id"],
            "shard": shard["path"],
            "sizes_position": position,
        }
        for shard, marker in zip(plan["shards"], markers, strict=True)
        for clip, position in zip(marker["clips"], _sizes_positions(marker), strict=True)
        if clip["clip_id"] not in excluded
    ]


def index_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as the table that index.parquet holds."""
    columns = {field.name: pa.array([row[field.name] for row in rows], field.type) for field in schema.INDEX_SCHEMA}
    return pa.table(columns, schema=schema.INDEX_SCHEMA)


def _sizes_positions(marker: dict[str, Any]) -> list[int]:
    """Where each clip's first frame stands in the shard's frame sizes; -1 where there are none."""
    counts = [clip["num_frames"] for clip in marker["clips"]]
    if "sizes_bytes" not in marker:
        return [-1] * len(counts)
    return [0, *itertools.accumulate(counts)][: len(counts)]


def _markers(out: Path, plan: dict[str, Any]) -> list[dict[str, Any]]:
    paths = [out / schema.marker_path(shard["path"]) for shard in plan["shards"]]
    lacking = [path for path in paths if not path.exists()]
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(paths)} planned shards of {out} are not built yet, the first is "
            f"{lacking[0].relative_to(out)}; run build-shards for their partitions."
        )
    markers = [store.read_json(path) for path in paths]
    for path, marker in zip(paths, markers, strict=True):
        if marker["config_digest"] != plan["config_digest"]:
            raise UserError(f"{path} belongs to a build with other options; delete it and run build-shards again.")
    return markers


def dataset_values(
    out: Path, plan: dict[str, Any], markers: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """What dataset.json holds; index.parquet of `out` must be written."""
    names = plan["class_names"]
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        of_split = counts.setdefault(row["split"], dict.fromkeys(names, 0))
        of_split[names[row["label"]]] += 1
    return {
        "format": schema.FORMAT,
        "video": plan["config"]["video"],
        "audio": plan["config"]["audio"],
        "class_names": names,
        "counts": counts,
        "logmel": _statistics(plan, markers),
        "shards": {marker["shard"]: {key: marker[key] for key in SHARD_FACTS if key in marker} for marker in markers},
        "index_sha256": store.sha256(out / schema.INDEX),
        "manifest_sha256": store.sha256(out / schema.PLAN_MANIFEST),
        "config_digest": plan["config_digest"],
        "versions": plan["versions"],
    }


def _statistics(plan: dict[str, Any], markers: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of each mel band over all stored frames of the train split (of all, if it has none)."""
    chosen = [
        marker["logmel"]
        for shard, marker in zip(plan["shards"], markers, strict=True)
        if shard["split"] == STATISTICS_SPLIT and marker["logmel"]["frames"]
    ]
    split = STATISTICS_SPLIT if chosen else "all"
    chosen = chosen or [marker["logmel"] for marker in markers if marker["logmel"]["frames"]]
    frames = sum(part["frames"] for part in chosen)
    mean = np.array([math.fsum(band) for band in zip(*(part["sum"] for part in chosen), strict=True)]) / frames
    square = np.array([math.fsum(band) for band in zip(*(part["sum_of_squares"] for part in chosen), strict=True)])
    deviation = np.sqrt(np.maximum(square / frames - mean**2, 0.0))
    return {"split": split, "frames": frames, "mean": mean.tolist(), "std": deviation.tolist()}
