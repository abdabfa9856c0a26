"""The unit of work: plan_shards() assigns clips to shards, build_shard() makes one tar and its done-marker.

One class a shard, clips in manifest order. A shard is written under a temporary name, flushed, renamed, and then
gets its marker: a shard that has its marker is whole. A shard whose clips all failed has an empty tar and a marker.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avprep import schema
from avprep.build.counters import ClipOutcome
from avprep.build.members import ClipRecord
from avprep.build.side_by_side import Decoders, in_order
from avprep.build.tasks import ClipTask
from avprep.config import BuildConfig, Limits, ShardSpec
from avprep.dataset import integrity
from avprep.errors import ClipError
from avprep.manifest.clips import Clip, Clips
from avprep.quality.parts import write_part
from avprep.shared import names, store
from avprep.shared.values import speaking_of, texts, whole_number

NOTHING_THERE: Mapping[tuple[str, int], int] = {}


@dataclass(frozen=True)
class PlannedShard:
    """One tar to be: its path in the dataset folder, its class, the manifest rows of its clips."""

    path: str
    split: str
    class_id: int
    rows: Sequence[int]


@dataclass(frozen=True)
class ShardReport:
    """What building a shard came to."""

    path: str
    split: str
    clips: int
    failures: list[tuple[str, str]]
    """clip id and reason of each"""
    bytes: int


@dataclass(frozen=True)
class ShardJob:
    """All that is common to the shards of one build; `clips` by manifest row."""

    clips: Mapping[int, Clip] | Sequence[Clip]
    root: str
    out: Path
    config: BuildConfig
    config_digest: str
    limits: Limits
    url: str = ""
    """where a finished shard goes from `out`; '' where it stays"""
    quality: bool = False
    """whether clips are measured while they are decoded"""


def plan_shards(
    clips: Clips,
    class_names: list[str],
    spec: ShardSpec,
    first_row: int = 0,
    there: Mapping[tuple[str, int], int] = NOTHING_THERE,
) -> list[PlannedShard]:
    """The shards of a manifest, by split, class id and number. Pure: the same rows give the same plan.

    Rows count from `first_row`, and shards of a split and class id from the number of those that are `there`. Errors:
    KeyError where a label is not in `class_names`.
    """
    ids = {name: number for number, name in enumerate(class_names)}
    (labels, label), (splits, split) = clips.coded("label"), clips.coded("split")
    class_ids = np.array([ids[name] for name in labels], np.int32)[label]
    in_order = sorted(splits)
    parts = np.array([in_order.index(name) for name in splits], np.int32)[split]
    order = np.lexsort((class_ids, parts))  # stable, so that the clips of a class stay in manifest order
    new = np.diff(class_ids[order], prepend=-1) | np.diff(parts[order], prepend=-1)
    begins = np.flatnonzero(new).tolist()
    planned = []
    for begin, end in zip(begins, [*begins[1:], len(order)], strict=True):
        split_name, class_id = in_order[parts[order[begin]]], int(class_ids[order[begin]])
        for number, first in enumerate(range(begin, end, spec.clips_per_shard), there.get((split_name, class_id), 0)):
            path = schema.shard_path(split_name, class_id, class_names[class_id], number)
            rows = array("q", (order[first : min(first + spec.clips_per_shard, end)] + first_row).tobytes())
            planned.append(PlannedShard(path, split_name, class_id, rows))
    return planned


def is_done(
    out: Path,
    planned: PlannedShard,
    config_digest: str,
    retried: Callable[[dict[str, Any]], bool] | None = None,
    size_of: Callable[[str], int] | None = None,
) -> bool:
    """Whether the shard has a marker of this config and its tar the size in the marker.

    A shard with failures that are worth another try (`retried`, asked of each) is not done. `size_of` gives the bytes
    of a file, or raises KeyError, where the data do not lie in `out`.
    """
    bytes_of = size_of or (lambda name: names.inside(out, name).stat().st_size)
    marker = names.inside(out, schema.marker_path(planned.path))
    try:
        done = json.loads(marker.read_bytes())
        if (done["shard"], done["config_digest"]) != (planned.path, config_digest):
            return False
        if retried is not None and any([retried(failure) for failure in done["failures"]]):
            return False
        return all(bytes_of(path) == size for path, size in marked_files(done).items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def read_marker(out: Path, shard: PlannedShard) -> dict[str, Any]:
    """The done-marker of a shard of the dataset folder `out`. Errors: UserError where it is missing or none."""
    path = names.inside(out, schema.marker_path(shard.path))
    marker = store.read_json(path)
    with speaking_of(path):
        integrity.shard_facts(marker, "jpeg" if "sizes_bytes" in marker else "raw")
        texts([marker["config_digest"], *(failure["reason"] for failure in marker["failures"])], "reason")
        if marker["shard"] != shard.path:
            raise ValueError(f"it is of {ascii(marker['shard'])[:80]}")
        for clip in marker["clips"]:
            if not all(math.isfinite(clip[name]) for name in ("duration_seconds", "av_offset_seconds")):
                raise ValueError(f"clip {ascii(clip['clip_id'])[:80]} has no length")
    return marker


def marked_files(marker: dict[str, Any]) -> dict[str, int]:
    """Bytes of each file that a done-marker vouches for, by path in the dataset folder."""
    files = {marker["shard"]: marker["bytes"]}
    if "sizes_bytes" in marker:
        files[schema.sizes_path(marker["shard"])] = marker["sizes_bytes"]
    return files


def build_shard(
    planned: PlannedShard,
    job: ShardJob,
    decoders: Decoders,
    after_clip: Callable[[ClipOutcome], None],
    stopping: Callable[[], bool],
) -> ShardReport:
    """Build one shard and commit it. `after_clip` is called for each clip; what it raises ends the shard.

    Errors: Interrupted once `stopping()` is true (the temporary file is removed); UserError where the disk refuses.
    """
    records: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    sums: list[ClipRecord] = []
    end = 0

    def task_of(row: int, file: Path, offset: int) -> ClipTask:
        return ClipTask(job.clips[row], job.root, job.config, job.limits, str(file), offset, quality=job.quality)

    with store.atomic_path(names.inside(job.out, planned.path)) as temporary:
        with contextlib.closing(in_order(planned.rows, task_of, temporary, decoders, stopping)) as outcomes:
            for row, outcome in outcomes:
                clip = job.clips[row]
                if isinstance(outcome, ClipError):
                    reason, detail = outcome.reason, outcome.detail
                    failed = {"row": row, "clip_id": clip.clip_id, "path": clip.source}
                    failures.append(failed | {"reason": reason, "detail": detail})
                    after_clip(ClipOutcome(clip.clip_id, clip.source, reason, detail, 0))
                    continue
                records.append({"row": row, **outcome.index})
                sums.append(outcome)
                after_clip(ClipOutcome(clip.clip_id, clip.source, "", "", outcome.end_offset - end))
                end = outcome.end_offset
        with open(temporary, "r+b") as tar:
            tar.seek(end)
            tar.write(schema.tar_ending(end))
            size = tar.tell()
        digest = store.sha256(temporary)
    marker = {
        "format": schema.FORMAT,
        "config_digest": job.config_digest,
        "shard": planned.path,
        "bytes": size,
        "sha256": digest,
        "clips": records,
        "failures": failures,
        "logmel": _merged(sums, job.config),
    }
    if job.config.video.frame_codec == "jpeg":
        marker |= _write_sizes(names.inside(job.out, schema.sizes_path(planned.path)), sums)
    if job.quality:
        measured = [(one.index["clip_id"], one.measured) for one in sums if one.measured is not None]
        write_part(job.out, planned.path, digest, measured)
    store.write_json(names.inside(job.out, schema.marker_path(planned.path)), marker)
    reasons = [(failure["clip_id"], failure["reason"]) for failure in failures]
    return ShardReport(planned.path, planned.split, len(records), reasons, size)


def _merged(records: list[ClipRecord], config: BuildConfig) -> dict[str, Any]:
    """Log-mel sums of a whole shard: frames, sum [M] and sum of squares [M] in float64."""
    bands = config.audio.num_mel_bands
    total, squares = np.zeros(bands), np.zeros(bands)
    for record in records:
        total += record.logmel_sum
        squares += record.logmel_sum_of_squares
    frames = sum(record.index["num_mel_frames"] for record in records)
    return {"frames": frames, "sum": total.tolist(), "sum_of_squares": squares.tolist()}


def _write_sizes(path: Path, records: list[ClipRecord]) -> dict[str, Any]:
    """Write the bytes of each JPEG of a shard, in the order of the tar; returns the marker's entry for the file."""
    sizes = np.concatenate([np.zeros(0, schema.SIZES_DTYPE), *(record.frame_sizes for record in records)])
    data = schema.npy_header(schema.SIZES_DTYPE, sizes.shape) + sizes.astype(schema.SIZES_DTYPE).tobytes()
    store.write_bytes(path, data)
    return {"sizes_bytes": len(data), "sizes_sha256": hashlib.sha256(data).hexdigest()}


def write_plan(path: Path, plan: dict[str, Any], planned: list[PlannedShard]) -> None:
    """Write build.json: `plan` and the shards to be."""
    store.write_json(path, plan | {"shards": planned}, planned_to_json)


def read_plan(path: Path) -> tuple[dict[str, Any], list[PlannedShard]]:
    """(values of build.json but its shards, shards to be). Errors: UserError where it is missing or broken."""
    plan = store.read_json(path, functools.partial(planned_from_json, source=path))
    with speaking_of(path):
        classes = texts(plan["class_names"], "class_names")
        integrity.specs(plan["config"])
        texts([plan["config_digest"]], "config_digest")
        dict(plan["versions"])
        shards = plan.pop("shards")
        if not all(isinstance(shard, PlannedShard) and shard.class_id < len(classes) for shard in shards):
            raise ValueError("a planned shard is of no class")
    return plan, shards


def planned_to_json(shard: PlannedShard) -> dict[str, Any]:
    """A planned shard as in build.json."""
    return {"path": shard.path, "split": shard.split, "class_id": shard.class_id, "rows": list(shard.rows)}


def planned_from_json(values: dict[str, Any], source: object = schema.PLAN_BUILD) -> PlannedShard | dict[str, Any]:
    """The planned shard of an entry in build.json; other `values` as they are. Errors: UserError."""
    if values.keys() != {"path", "split", "class_id", "rows"}:
        return values
    path = names.checked(values["path"], source, schema.SHARD_PATTERN)
    with speaking_of(source):
        rows, class_id = array("q", values["rows"]), whole_number(values["class_id"], "class_id")
        if path.split("/")[1] != values["split"] or min(rows, default=0) < 0:
            raise ValueError(f"{path} is of split {values['split']!a}")
        return PlannedShard(path, values["split"], class_id, rows)
