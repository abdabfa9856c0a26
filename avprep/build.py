"""avprep build-shards: manifest in, dataset folder out; resumes by itself, loses at most the shards in work."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep import schema
from avprep.assembly import Execution, run_shards
from avprep.config import BuildConfig, Limits
from avprep.errors import UserError
from avprep.finalize import finalize
from avprep.findings import examine
from avprep.manifest import COLUMNS, Clip, read_manifest, write_parquet
from avprep.shards import PlannedShard, ShardJob, is_done, plan_shards, planned_to_json
from avprep.shared import configs, store
from avprep.versions import versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildResult:
    """What a build came to: good clips and failures by reason, over the whole dataset; complete once finalized."""

    clips: int
    failures: dict[str, int]
    failed_clips: list[tuple[str, str]]
    shards_built: int
    shards_kept: int
    complete: bool


@dataclass(frozen=True)
class Prepared:
    """What a manifest and a config ask for: clips, the shards to be, plan/build.json and its digest."""

    clips: list[Clip]
    planned: list[PlannedShard]
    plan: dict[str, Any]
    digest: str


def prepare(manifest: Path, config: BuildConfig) -> Prepared:
    """The plan of a build; nothing is written. Errors: ManifestError."""
    clips = read_manifest(manifest)
    class_names = sorted({clip.label for clip in clips})
    planned = plan_shards(clips, class_names, config.shards)
    plan = {
        "format": schema.FORMAT,
        "config": configs.to_dict(config),
        "manifest_digest": manifest_digest(clips),
        "class_names": class_names,
        "versions": versions(),
    }
    digest = configs.digest(plan)
    return Prepared(clips, planned, plan | {"config_digest": digest, "shards": planned_to_json(planned)}, digest)


def build_shards(
    manifest: Path,
    out: Path,
    config: BuildConfig,
    limits: Limits,
    *,
    root: Path | None = None,
    workers: int = 1,
    executor: str = "local",
    address: str | None = None,
    max_consecutive_failures: int = 50,
    partition: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> BuildResult:
    """Build the dataset folder `out` of a manifest, or its part `partition` = (I, N); finished shards are kept.

    `root` is where relative paths of the manifest start (default: the manifest's folder); the execution's
    options are those of assembly.Execution. With partition (0, 1) the
    folder is also finalized. `retry_failed` builds those shards again in which clips failed. Errors: UserError (a
    build of other options is there, disk full, not one good clip ...), Interrupted once `stopping()`.
    """
    index, parts = partition
    configs.check(parts >= 1 and 0 <= index < parts, f"partition {index}/{parts} is none: I counts from 0 to N-1.")
    prepared = prepare(manifest, config)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with store.folder_lock(out, "planning", wait=True):  # partitions may start together
            _write_plan(out, prepared.plan, prepared.clips)
    except OSError as error:
        raise UserError(f"{out} cannot be written to ({error.strerror}); choose another --out.") from None
    job = ShardJob(prepared.clips, str((root or manifest.parent).absolute()), out, config, prepared.digest, limits)
    mine = prepared.planned[index::parts]
    todo = [shard for shard in mine if not is_done(out, shard, prepared.digest, retry_failed)]
    findings = examine(prepared.clips, [prepared.clips[row] for shard in todo for row in shard.rows], Path(job.root))
    if findings.lines():
        log.warning("%s\n  %s", manifest, "\n  ".join(findings.lines()))
    how = Execution(
        workers=workers, executor=executor, address=address, max_consecutive_failures=max_consecutive_failures
    )
    reports = run_shards(todo, job, how, f"reports/build-{index}-of-{parts}.json", stopping)
    complete = parts == 1
    totals = finalize(out) if complete else None
    failures = [failure for report in reports for failure in report.failures] if totals is None else totals.failures
    return BuildResult(
        clips=sum(report.clips for report in reports) if totals is None else totals.clips,
        failures=dict(Counter(failure["reason"] for failure in failures)),
        failed_clips=[(failure["clip_id"], failure["reason"]) for failure in failures],
        shards_built=len(reports),
        shards_kept=len(mine) - len(todo),
        complete=complete,
    )


def _write_plan(out: Path, plan: dict[str, Any], clips: list[Clip]) -> None:
    """Write plan/, or check that the one that is there asks for the same."""
    path = out / schema.PLAN_BUILD
    if has_plan(out, plan):
        return
    with store.atomic_path(out / schema.PLAN_MANIFEST) as temporary:
        write_parquet(temporary, clips)
    store.write_json(path, plan)


def has_plan(out: Path, plan: dict[str, Any]) -> bool:
    """Whether `out` holds this very plan. Errors: UserError where it holds another, or other things."""
    path = out / schema.PLAN_BUILD
    if not path.exists():
        if out.exists() and any(entry.name != "plan" for entry in out.iterdir()):
            raise UserError(f"{out} is not empty and holds no build; choose another --out.")
        return False
    old = store.read_json(path)
    if old["config_digest"] == plan["config_digest"]:
        return True
    changed = configs.differences(_comparable(old), _comparable(plan))
    raise UserError(
        f"{out} holds a build with other options; use them again or another --out. Differences:\n  "
        + "\n  ".join(changed)
    )


def _comparable(plan: dict[str, Any]) -> dict[str, Any]:
    return {key: plan[key] for key in ("config", "manifest_digest", "versions")}


def manifest_digest(clips: list[Clip]) -> str:
    """Hex sha256 of the rows of a manifest, whatever its file format; taken a row at a time."""
    state = hashlib.sha256(b"[")
    for place, clip in enumerate(clips):
        row = json.dumps([getattr(clip, name) for name in COLUMNS], separators=(",", ":"))
        state.update(("," if place else "").encode() + row.encode())
    state.update(b"]")
    return state.hexdigest()


def default_workers() -> int:
    """As many decoding processes as this process may use cores."""
    return len(os.sched_getaffinity(0))
