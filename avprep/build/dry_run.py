"""What a build will come to, before it begins: clips, shards, disk, hours. Nothing is written below --out.

Counts come from the manifest. Seconds, bytes and cost of a clip come from a seeded sample, decoded for real by the same
killable workers into a temporary folder that is gone afterwards: what a header claims is neither time nor bytes.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avprep.build.destination import Destination
from avprep.build.run import as_planned, default_workers, has_plan, prepare, untrainable
from avprep.build.sources import check_any, retried
from avprep.build.tasks import ClipTask
from avprep.build.workers import Workers
from avprep.config import BuildConfig, Limits
from avprep.errors import ClipError, Interrupted, UserError
from avprep.manifest.addresses import check_local, start_of
from avprep.manifest.checks import Report, examine
from avprep.manifest.clips import Clip
from avprep.shared import configs
from avprep.shared.mirror import near
from avprep.shared.text import readable_bytes

SAMPLE_CLIPS = 20
SAMPLE_SECONDS = 60.0
SAMPLE = 0xD27  # the stream of random numbers that draws it; never change it


@dataclass(frozen=True)
class Sampled:
    """A clip of the sample: its span as stored, its members' bytes, the time it took; or why it failed."""

    clip: Clip
    clip_seconds: float
    stored_bytes: int
    work_seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Estimate:
    """Totals of what is left to build, scaled from a sample; time for workers as fast as this machine's."""

    media_seconds: float
    stored_bytes: float
    seconds_per_clip: float
    work_seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a build would do: exact counts, findings, and an estimate (None where no clip of the sample is good)."""

    per_split: dict[str, int]
    classes: int
    shards: int
    shards_done: int
    clips_to_build: int
    clips_with_span: int
    sampled: int
    failures: dict[str, int]
    estimate: Estimate | None
    free_bytes: int
    findings: Report
    untrainable: list[str]

    def lines(self) -> list[str]:
        """One screen for a person."""
        splits = ", ".join(f"{count} {split}" for split, count in self.per_split.items())
        lines = [
            f"clips   {sum(self.per_split.values())} ({splits}) in {self.classes} classes",
            f"shards  {self.shards}, {self.shards_done} of them built; {self.clips_to_build} clips are left to build",
            *(f"        {line}" for line in [*self.findings.lines(), *self.untrainable]),
        ]
        failed = ", ".join(f"{count} {reason}" for reason, count in self.failures.items())
        if self.sampled:
            lines.append(f"sample  {self.sampled} clips decoded on trial, {failed or 'none'} failed")
        if self.estimate is None:
            unknown = "disk and hours are unknown: no clip could be decoded on trial"
            return [*lines, unknown if self.clips_to_build else "nothing is left to decode"]
        need, free = self.estimate.stored_bytes, self.free_bytes
        each = f"{self.estimate.seconds_per_clip:.2f} s a clip and worker"
        return [
            *lines,
            f"media   about {_long(self.estimate.media_seconds)}, {self.clips_with_span} clips by their spans",
            f"disk    about {readable_bytes(need)}; {readable_bytes(free)} are free"
            + (", NOT ENOUGH" if need > free else ""),
            f"time    about {_long(self.estimate.work_seconds)}: {each}",
        ]


def forecast(
    manifest: Path | str,
    out: Path | str,
    config: BuildConfig,
    limits: Limits,
    *,
    root: Path | str | None = None,
    workers: int = 1,
    partition: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    allow_local_paths: bool = False,
    seed: int = 0,
    stopping: Callable[[], bool] = lambda: False,
) -> Forecast:
    """The forecast of build_shards() with the same arguments.

    Every file of this machine is looked for. A sample of 20 clips is decoded, fewer where a minute has passed. Errors:
    those of build_shards() before its first clip; Interrupted.
    """
    index, parts = partition
    configs.check(
        parts >= 1 and 0 <= index < parts, f"partition {index}/{parts} does not exist: I counts from 0 to N-1."
    )
    if isinstance(out, str):
        raise UserError("--dry-run asks how much room --out has; give a folder of this machine, it writes nothing.")
    with near(manifest) as local:
        prepared = prepare(local, config)
    base = start_of(manifest, root)
    if not allow_local_paths:
        check_local(prepared.clips, manifest, base)
    prepared = as_planned(out, prepared)
    has_plan(out, prepared)
    clips, mine = prepared.clips, prepared.planned[index::parts]
    todo = Destination(out).unbuilt(mine, prepared.digest_of, retried(clips, base, retry_failed, []))
    if todo:
        check_any(clips, base, manifest)
    left = prepared.rows_of(todo)
    findings = examine(clips, left, base, most_lookups=None)
    gone = set(findings.missing)
    known = np.fromiter((clip_id not in gone for clip_id in clips.values("clip_id")), bool)
    there = np.flatnonzero(left & known)
    chosen = np.random.default_rng([seed, SAMPLE]).permutation(there)[:SAMPLE_CLIPS]
    sample = _decode([clips[row] for row in chosen.tolist()], base, config, limits, workers, stopping)
    starts, ends = (clips.column(name).to_numpy()[there] for name in ("start_seconds", "end_seconds"))  # NaN: none
    spans = ends - np.nan_to_num(starts)
    return Forecast(
        per_split=dict(sorted(Counter(clips.values("split")).items())),
        classes=len(prepared.plan["class_names"]),
        shards=len(mine),
        shards_done=len(mine) - len(todo),
        clips_to_build=int(left.sum()),
        clips_with_span=int(np.isfinite(spans).sum()),
        sampled=len(sample),
        failures=dict(Counter(clip.reason for clip in sample if clip.reason)),
        estimate=_estimate(sample, spans, workers),
        free_bytes=shutil.disk_usage(next(path for path in (out, *out.absolute().parents) if path.exists())).free,
        findings=findings,
        untrainable=untrainable(prepared, config),
    )


def _decode(
    clips: list[Clip], root: str, config: BuildConfig, limits: Limits, workers: int, stopping: Callable[[], bool]
) -> list[Sampled]:
    """The clips decoded and written into a temporary folder, each worker's start left out of the time."""
    if not clips:
        return []
    threads = min(workers, default_workers(), len(clips))
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="avprep-") as folder, Workers(threads, limits) as pool:

        def decode(row: int) -> Sampled | None:
            if stopping() or time.monotonic() - begin > SAMPLE_SECONDS:
                return None
            path = Path(folder) / str(row)
            path.touch()
            task = ClipTask(clips[row], root, config, limits, str(path), 0)
            started = time.monotonic()
            try:
                record = pool.run(task)
                return Sampled(
                    task.clip, record.index["duration_seconds"], record.end_offset, time.monotonic() - started
                )
            except ClipError as error:
                return Sampled(task.clip, 0.0, 0, time.monotonic() - started, error.reason)
            finally:
                path.unlink()

        with ThreadPoolExecutor(threads) as map_over:
            list(map_over.map(decode, range(threads)))  # while they run, each has started a process
            begin = time.monotonic()
            sample = [one for one in map_over.map(decode, range(len(clips))) if one is not None]
    if stopping():
        raise Interrupted("the dry run was stopped; nothing was written")
    return sample


def _long(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.1f} minutes"


def _estimate(sample: list[Sampled], spans: np.ndarray, workers: int) -> Estimate | None:
    """Totals for clips: seconds by their `spans`, where NaN as the sample's; bytes by seconds; work by clips."""
    good = [one for one in sample if not one.reason]
    if not good:
        return None
    share = len(good) / len(sample)
    whole = [one.clip_seconds for one in good if one.clip.end_seconds is None]
    typical = float(np.mean(whole or [one.clip_seconds for one in good]))
    media = float(np.where(np.isnan(spans), typical, spans).sum())
    stored = share * media * sum(one.stored_bytes for one in good) / sum(one.clip_seconds for one in good)
    work = float(np.mean([one.work_seconds for one in sample]))
    return Estimate(media, stored, work, work * len(spans) / workers)
