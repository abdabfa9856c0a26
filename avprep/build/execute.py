"""Builds the missing shards, on local processes or on a Ray cluster, and reports progress."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from avprep.build.counters import ClipOutcome, Tally
from avprep.build.destination import publish_shard
from avprep.build.shards import PlannedShard, ShardJob, ShardReport, build_shard
from avprep.build.side_by_side import Decoders
from avprep.build.threads import map_local
from avprep.build.versions import versions
from avprep.build.workers import Workers
from avprep.config import Limits
from avprep.errors import Interrupted, UserError
from avprep.manifest.read_write import Clip
from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.ray_tasks import map_ray


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How shards are built; none of it changes a byte of them."""

    workers: int = 1
    """decoding processes; with Ray, cores of a cluster started here"""
    executor: str = "local"
    """`local` or `ray`"""
    address: str | None = None
    """of a running Ray cluster; none: one is started on this machine"""
    max_consecutive_failures: int = 50
    """clips that may fail one after the other before the build is stopped; 0: no limit"""

    def __post_init__(self) -> None:
        configs.check(self.executor in ("local", "ray"), f"executor must be local or ray, not {self.executor!r}.")
        configs.check(self.workers >= 1, f"workers must be 1 or more, not {self.workers}.")
        configs.check(self.max_consecutive_failures >= 0, "max_consecutive_failures must be 0 or more.")


def run_shards(
    todo: list[PlannedShard], job: ShardJob, how: Execution, report: str, stopping: Callable[[], bool]
) -> list[ShardReport]:
    """Build the shards `todo`; however it ends, the file `report` in the dataset folder then records what was done.

    Errors: UserError (disk full, too many failures in a row, no Ray cluster ...), Interrupted once `stopping()`.
    """
    begin = time.monotonic()
    done: list[ShardReport] = []
    ended = "failed"
    with Progress(sum(len(shard.rows) for shard in todo), "clips", "build-shards") as progress:
        tally = Tally(progress, how.max_consecutive_failures)
        run = _locally if how.executor == "local" else _on_ray
        try:
            for shard in run(todo, job, how, tally, stopping):
                done.append(shard)
            ended = "complete"
        except Interrupted:
            ended = "interrupted"
            raise
        finally:
            seconds = time.monotonic() - begin
            values = {
                **dataclasses.asdict(how),
                "outcome": ended,
                "seconds": round(seconds, 3),
                "clips_good": tally.good,
                "clips_failed": sum(tally.reasons.values()),
                "failures_by_reason": dict(sorted(tally.reasons.items())),
                "clips_by_split": _by_split(done),
                "clips_per_second": round((tally.good + sum(tally.reasons.values())) / seconds, 3),
                "shards_planned": len(todo),
                "shards_built": len(done),
                "bytes_built": sum(shard.bytes for shard in done),
            }
            store.write_json(job.out / report, values)
    return done


def _by_split(done: list[ShardReport]) -> dict[str, dict[str, int]]:
    """Good and failed clips of each split in the shards that were built."""
    counts: dict[str, dict[str, int]] = {}
    for shard in done:
        of_split = counts.setdefault(shard.split, {"good": 0, "failed": 0})
        of_split["good"] += shard.clips
        of_split["failed"] += len(shard.failures)
    return counts


def _locally(
    todo: list[PlannedShard], job: ShardJob, how: Execution, tally: Tally, stopping: Callable[[], bool]
) -> Iterator[ShardReport]:
    failed: list[BaseException] = []
    with Workers(how.workers, job.limits) as pool:

        def build(shard: PlannedShard) -> ShardReport:
            try:
                return _built(shard, job, pool, tally.count, lambda: stopping() or bool(failed))
            except BaseException as error:
                failed.append(error)
                raise

        try:
            yield from map_local(build, todo, how.workers + 1)  # one may be flushing its shard to disk
        except Interrupted:
            raise failed[0] from None  # the others stopped because of it


def _built(
    planned: PlannedShard,
    job: ShardJob,
    decoders: Decoders,
    after_clip: Callable[[ClipOutcome], None],
    stopping: Callable[[], bool],
) -> ShardReport:
    """As build_shard, and the shard is where it belongs."""
    report = build_shard(planned, job, decoders, after_clip, stopping)
    if job.url:
        publish_shard(job.out, job.url, planned)
    return report


def _on_ray(
    todo: list[PlannedShard], job: ShardJob, how: Execution, tally: Tally, stopping: Callable[[], bool]
) -> Iterator[ShardReport]:
    task = RemoteBuild(dataclasses.replace(job, clips={}, out=job.out.absolute()), versions())
    items = ((shard, {row: job.clips[row] for row in shard.rows}) for shard in todo)
    for report, outcomes in map_ray(task, items, how.workers, how.address, stopping):
        for outcome in outcomes:
            tally.count(outcome)
        yield report


@dataclass(frozen=True)
class RemoteBuild:
    """Builds one shard wherever it is called; `versions` are those that the plan was made with."""

    job: ShardJob
    versions: dict[str, str]

    def __call__(self, item: tuple[PlannedShard, Mapping[int, Clip]]) -> tuple[ShardReport, list[ClipOutcome]]:
        """Errors: UserError where this machine would write other bytes; those of build_shard."""
        changed = configs.differences(self.versions, versions())
        if changed:
            raise UserError(f"A node of the cluster ({os.uname().nodename}) has other versions: {'; '.join(changed)}.")
        planned, clips = item
        outcomes: list[ClipOutcome] = []
        job = dataclasses.replace(self.job, clips=clips)
        return _built(planned, job, _workers(job.limits), outcomes.append, lambda: False), outcomes


@functools.cache
def _workers(limits: Limits) -> Workers:
    """One decoding process, kept from shard to shard; it dies with this process."""
    pool = Workers(1, limits)
    atexit.register(pool.__exit__)
    return pool
