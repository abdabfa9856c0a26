"""The unit of work: plan_shards() decides who stands where, build_shard() makes one tar and its done-marker.

One class a shard, clips in manifest order. A shard is written under a temporary name, flushed, renamed, and then
gets its marker: a shard that has its marker is whole. A shard whose clips all failed has an empty tar and a marker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avprep import schema
from avprep.config import BuildConfig, Limits, ShardSpec
from avprep.errors import ClipError, Interrupted
from avprep.manifest import Clip
from avprep.members import ClipRecord
from avprep.shared import store
from avprep.tally import ClipOutcome
from avprep.worker import ClipTask


@dataclass(frozen=True)
class PlannedShard:
    """One tar to be: its path in the dataset folder, its class, the manifest rows of its clips."""

    path: str
    split: str
    class_id: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class ShardReport:
    """What building a shard came to."""

    path: str
    clips: int
    failures: list[dict[str, Any]]
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


def plan_shards(clips: list[Clip], class_names: list[str], spec: ShardSpec) -> list[PlannedShard]:
    """The shards of a manifest, by split, class id and number. Pure: the same rows give the same plan."""
    ids = {name: number for number, name in enumerate(class_names)}
    rows: dict[tuple[str, int], list[int]] = {}
    for row, clip in enumerate(clips):
        rows.setdefault((clip.split, ids[clip.label]), []).append(row)
    size = spec.clips_per_shard
    return [
        PlannedShard(
            schema.shard_path(split, class_id, class_names[class_id], number),
            split,
            class_id,
            tuple(rows[split, class_id][number * size : (number + 1) * size]),
        )
        for split, class_id in sorted(rows)
        for number in range(-(-len(rows[split, class_id]) // size))
    ]


def is_done(out: Path, planned: PlannedShard, config_digest: str, retry_failed: bool = False) -> bool:
    """Whether the shard has a marker of this config and its tar the size that the marker says.

    With `retry_failed`, a shard in which a clip failed is not done.
    """
    marker = out / schema.marker_path(planned.path)
    try:
        done = json.loads(marker.read_text())
        if (done["shard"], done["config_digest"]) != (planned.path, config_digest):
            return False
        if retry_failed and done["failures"]:
            return False
        return all((out / path).stat().st_size == size for path, size in marked_files(done).items())
    except (OSError, ValueError, KeyError):
        return False


def marked_files(marker: dict[str, Any]) -> dict[str, int]:
    """Bytes of each file that a done-marker vouches for, by path in the dataset folder."""
    files = {marker["shard"]: marker["bytes"]}
    if "sizes_bytes" in marker:
        files[schema.sizes_path(marker["shard"])] = marker["sizes_bytes"]
    return files


def build_shard(
    planned: PlannedShard,
    job: ShardJob,
    run_clip: Callable[[ClipTask], ClipRecord],
    after_clip: Callable[[ClipOutcome], None],
    stopping: Callable[[], bool],
) -> ShardReport:
    """Build one shard and commit it. `after_clip` hears of each clip; what it raises ends the shard.

    Errors: Interrupted once `stopping()` is true (the temporary file is removed); UserError where the disk refuses.
    """
    records: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    sums: list[ClipRecord] = []
    with store.atomic_path(job.out / planned.path) as temporary:
        end = 0
        for row in planned.rows:
            if stopping():
                raise Interrupted("the shard in work was discarded; the same command resumes the build")
            clip = job.clips[row]
            task = ClipTask(clip, job.root, job.config, job.limits, str(temporary), end)
            try:
                record = run_clip(task)
            except ClipError as error:
                _cut_back(temporary, end)
                failures.append(
                    {
                        "row": row,
                        "clip_id": clip.clip_id,
                        "path": clip.source,
                        "reason": error.reason,
                        "detail": error.detail,
                    }
                )
                after_clip(ClipOutcome(clip.clip_id, clip.source, error.reason, error.detail, 0))
                continue
            records.append({"row": row, **record.index})
            sums.append(record)
            after_clip(ClipOutcome(clip.clip_id, clip.source, "", "", record.end_offset - end))
            end = record.end_offset
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
        marker |= _write_sizes(job.out / schema.sizes_path(planned.path), sums)
    store.write_json(job.out / schema.marker_path(planned.path), marker)
    return ShardReport(planned.path, len(records), failures, size)


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
    """Write the bytes of each JPEG of a shard, in the order of the tar; what the marker says of the file."""
    sizes = np.concatenate([np.zeros(0, schema.SIZES_DTYPE), *(record.frame_sizes for record in records)])
    data = schema.npy_header(schema.SIZES_DTYPE, sizes.shape) + sizes.astype(schema.SIZES_DTYPE).tobytes()
    store.write_bytes(path, data)
    return {"sizes_bytes": len(data), "sizes_sha256": hashlib.sha256(data).hexdigest()}


def _cut_back(path: Path, size: int) -> None:
    with open(path, "r+b") as tar:
        tar.truncate(size)


def planned_to_json(planned: list[PlannedShard]) -> list[dict[str, Any]]:
    """The plan as it stands in build.json."""
    return [
        {"path": shard.path, "split": shard.split, "class_id": shard.class_id, "rows": list(shard.rows)}
        for shard in planned
    ]
