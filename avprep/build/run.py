"""avprep build-shards: manifest in, dataset folder out; resumes by itself, loses at most the shards in work."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avprep import schema
from avprep.build.destination import Destination, destination_of
from avprep.build.execute import Execution, run_shards
from avprep.build.finalize import SHOWN_FAILURES, finalize
from avprep.build.parts import PARTS, Part, digests_of, manifest_digest, parts_of
from avprep.build.shards import PlannedShard, ShardJob, ShardReport, plan_shards, read_plan, write_plan
from avprep.build.sources import check_any, retried
from avprep.build.versions import versions
from avprep.config import BuildConfig, Limits, stored_config
from avprep.errors import UserError
from avprep.manifest.addresses import check_local, start_of
from avprep.manifest.checks import examine
from avprep.manifest.clips import Clip, Clips
from avprep.manifest.differences import differences
from avprep.manifest.read_write import read_manifest, write_parquet
from avprep.quality.table import write_quality
from avprep.shared import configs, store
from avprep.shared.mirror import near
from avprep.shared.urls import is_url

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildResult:
    """What a build came to: good clips and failures by reason, over the whole dataset; complete once finalized."""

    clips: int
    failures: dict[str, int]
    failed_clips: list[tuple[str, str]]
    """id and reason of the first few"""
    emptied: dict[str, int]
    """splits that have lost all their clips, and how many"""
    shards_built: int
    shards_kept: int
    complete: bool


@dataclass(frozen=True)
class Prepared:
    """What a manifest and a config ask for: clips, the shards to be, the other values of plan/build.json."""

    clips: Clips
    config: BuildConfig
    planned: list[PlannedShard]
    plan: dict[str, Any]

    @cached_property
    def parts(self) -> list[Part]:
        """The parts of the plan: one, unless clips were appended."""
        return parts_of(self.plan, self.planned)

    @property
    def digest_of(self) -> Callable[[PlannedShard], str]:
        """The digest that a shard's marker bears."""
        return digests_of(self.parts)

    def rows_of(self, shards: Iterable[PlannedShard]) -> np.ndarray:
        """Whether a clip is of one of `shards`, bool [clips]."""
        mine = np.zeros(len(self.clips), bool)
        for shard in shards:
            mine[np.asarray(shard.rows)] = True
        return mine


def prepare(manifest: Path, config: BuildConfig) -> Prepared:
    """The plan of a build; nothing is written. Errors: ManifestError."""
    clips = read_manifest(manifest)
    class_names = sorted(clips.coded("label")[0])
    planned = plan_shards(clips, class_names, config.shards)
    plan = {
        "format": schema.FORMAT,
        "config": stored_config(config),
        "manifest_digest": manifest_digest(clips),
        "class_names": class_names,
        "versions": versions(),
    }
    return Prepared(clips, config, planned, plan | {"config_digest": configs.digest(plan)})


def build_shards(
    manifest: Path | str,
    out: Path | str,
    config: BuildConfig,
    limits: Limits,
    *,
    root: Path | str | None = None,
    workers: int = 1,
    executor: str = "local",
    address: str | None = None,
    max_consecutive_failures: int = 50,
    partition: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    allow_local_paths: bool = False,
    quality: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> BuildResult:
    """Build the dataset folder `out` of a manifest, or its part `partition` = (I, N); finished shards are kept.

    All three are paths, or URLs as text. `root` is where relative paths of the manifest start (default: the
    manifest's folder); the execution's options are those of assembly.Execution. With partition (0, 1) the folder is
    also finalized. `retry_failed` builds those shards again in which clips failed; with `allow_local_paths` a manifest
    at a URL may name any file of this machine; with `quality` clips are measured while they are decoded, and
    quality.parquet is written once the dataset is whole. Errors: UserError (a build of other options is there, disk
    full, not one good clip ...), Interrupted once `stopping()`.
    """
    index, parts = partition
    configs.check(
        parts >= 1 and 0 <= index < parts, f"partition {index}/{parts} does not exist: I counts from 0 to N-1."
    )
    configs.check(
        not (quality and is_url(out)),
        f"Measures of {out} are not written while it is built; build without --quality, and run 'avprep quality' on a "
        "copy of the dataset.",
    )
    how = Execution(
        workers=workers, executor=executor, address=address, max_consecutive_failures=max_consecutive_failures
    )
    start = start_of(manifest, root)
    with near(manifest) as local, destination_of(out) as destination:
        prepared = prepare(local, config)
        if not allow_local_paths:
            check_local(prepared.clips, manifest, start)
        reports, kept = _build_part(
            local, prepared, destination, limits, start, partition, retry_failed, how, quality, stopping
        )
    built = {"shards_built": len(reports), "shards_kept": kept}
    if parts == 1:  # the clips are no longer in memory
        totals = finalize(out)
        if quality:
            write_quality(Path(out), workers=workers, stopping=stopping)
        return BuildResult(totals.clips, totals.failures, totals.first_failures, totals.emptied, **built, complete=True)
    failed = [failure for report in reports for failure in report.failures]
    reasons = dict(Counter(reason for _, reason in failed))
    clips = sum(report.clips for report in reports)
    return BuildResult(clips, reasons, failed[:SHOWN_FAILURES], {}, **built, complete=False)


def _build_part(
    manifest: Path,
    prepared: Prepared,
    destination: Destination,
    limits: Limits,
    root: str,
    partition: tuple[int, int],
    retry_failed: bool,
    how: Execution,
    quality: bool,
    stopping: Callable[[], bool],
) -> tuple[list[ShardReport], int]:
    """(reports of the shards built, number of those that were there) of one partition."""
    index, parts = partition
    out = destination.folder
    destination.begin()
    prepared = as_planned(out, prepared)
    back: list[str] = []
    mine = prepared.planned[index::parts]
    try:
        has_plan(out, prepared)
        todo = destination.unbuilt(mine, prepared.digest_of, retried(prepared.clips, root, retry_failed, back))
        for part, own in _by_part(prepared, todo):
            _check_versions(prepared, part)
            check_any(_clips_of(prepared, part, own), root, manifest)
        out.mkdir(parents=True, exist_ok=True)
        _check_free(out)
        with store.folder_lock(out, "planning", wait=True):  # partitions may start together
            _write_plan(out, prepared)
    except OSError as error:
        raise UserError(f"{out} cannot be written to ({error.strerror}); choose another --out.") from None
    destination.planned()
    findings = [*examine(prepared.clips, prepared.rows_of(todo), root).lines(), *untrainable(prepared, prepared.config)]
    if findings:
        log.warning("%s\n  %s", manifest, "\n  ".join(findings))
    if back:
        log.info(
            "%d clips that were missing are there now, such as %s; their shards are built again", len(back), back[0]
        )
    if not todo:
        return [], len(mine)
    report = f"reports/build-{index}-of-{parts}.json"
    built: list[ShardReport] = []
    try:
        for part, own in _by_part(prepared, todo):
            job = ShardJob(prepared.clips, root, out, part.config, part.digest, limits, destination.url, quality)
            built += run_shards(own, job, how, report, stopping)
    finally:
        destination.reported(report)
    return built, len(mine) - len(todo)


def as_planned(out: Path, prepared: Prepared) -> Prepared:
    """The plan of the dataset in `out`, where it has several parts and `prepared` is of its very clips; to repair it.

    Else `prepared`.
    """
    path = out / schema.PLAN_BUILD
    if not path.exists():
        return prepared
    plan, shards = read_plan(path)
    same = all(plan.get(name) == prepared.plan[name] for name in ("config", "manifest_digest"))
    return dataclasses.replace(prepared, planned=shards, plan=plan) if PARTS in plan and same else prepared


def _by_part(prepared: Prepared, shards: list[PlannedShard]) -> list[tuple[Part, list[PlannedShard]]]:
    """Each part of which there are `shards`, with these."""
    digest_of = prepared.digest_of
    own = {part.digest: [shard for shard in shards if digest_of(shard) == part.digest] for part in prepared.parts}
    return [(part, own[part.digest]) for part in prepared.parts if own[part.digest]]


def _check_versions(prepared: Prepared, part: Part) -> None:
    """UserError where this machine would write other bytes than those of an appended part; has_plan looks at others."""
    changed = configs.differences(part.plan["versions"], versions()) if PARTS in prepared.plan else []
    if changed:
        raise UserError(
            "Shards are to be repaired that were built with other versions; install these again:\n  "
            + "\n  ".join(changed)
        )


def _clips_of(prepared: Prepared, part: Part, shards: list[PlannedShard]) -> Iterable[Clip]:
    """The clips whose files must be there: those of the `shards` of a part of several, else of the whole manifest."""
    if PARTS not in prepared.plan:
        return prepared.clips
    return (prepared.clips[row] for shard in shards for row in shard.rows)


def untrainable(prepared: Prepared, config: BuildConfig) -> list[str]:
    """A sentence where pictures are to be stored at a rate that training cannot cut its windows from."""
    rate = config.video.frame_rate_hz
    if rate % schema.TRAINING_RATE_STEP_HZ == 0 or not any(prepared.clips.values("video_path")):
        return []
    return [f"'avtrain pretrain' needs a --frame-rate-hz that is a multiple of 4, such as 16; this build has {rate}"]


def _write_plan(out: Path, prepared: Prepared) -> None:
    """Write plan/, or check that the one that is there asks for the same."""
    if has_plan(out, prepared):
        return
    with store.atomic_path(out / schema.PLAN_MANIFEST) as temporary:
        write_parquet(temporary, prepared.clips)
    write_plan(out / schema.PLAN_BUILD, prepared.plan, prepared.planned)


def has_plan(out: Path, prepared: Prepared) -> bool:
    """Whether `out` holds this very plan. Errors: UserError where it holds another, or other things."""
    path = out / schema.PLAN_BUILD
    if not path.exists():
        _check_free(out)
        return False
    old, _ = read_plan(path)
    if old["config_digest"] == prepared.plan["config_digest"]:
        return True
    changed = configs.differences(_comparable(old), _comparable(prepared.plan))
    if old.get("manifest_digest") != prepared.plan["manifest_digest"]:
        changed += differences(read_manifest(out / schema.PLAN_MANIFEST, as_stored=True), prepared.clips)
    raise UserError(
        f"{out} holds a build with other options or clips; give another --out:\n  "
        + "\n  ".join(changed)
        + f"\nTo add clips that are new to a finished dataset: avprep append {out} MANIFEST"
        + "\nTo finish or repair it as it was planned (CLIPS: where its manifest's relative paths start):\n  "
        + schema.repair_command(out)
    )


def _check_free(out: Path) -> None:
    """UserError where `out` holds something and no build. A plan comes before all else of a build."""
    others = out.exists() and any(entry.name not in ("plan", store.LOCK) for entry in out.iterdir())
    if others and not (out / schema.PLAN_BUILD).exists():
        raise UserError(f"{out} is not empty and holds no build; choose another --out.")


def _comparable(plan: dict[str, Any]) -> dict[str, Any]:
    config = {**plan["config"], "audio": schema.named_downmix(plan["config"]["audio"])}
    return {"config": config, "versions": plan["versions"]}


def default_workers() -> int:
    """As many decoding processes as this process may use cores."""
    return len(os.sched_getaffinity(0))
