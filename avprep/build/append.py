"""avprep append: clips of another manifest become new shards of a finished dataset.

All that is new lies in DIR/append until it is whole, as a build of its own: plan, shards, reports. Then it is committed
(avprep/build/commit.py). A kill before that leaves the old dataset, one after it the new one, and the same command goes
on. No byte of an old shard or marker is touched.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avprep import schema
from avprep.build.commit import REPORT, Appended, Growth, commit, digest_of
from avprep.build.execute import Execution, run_shards
from avprep.build.parts import new_part, parts_of, plan_of, shards_of
from avprep.build.settle import discard, settle
from avprep.build.shards import ShardJob, is_done, read_plan, write_plan
from avprep.build.sources import check_any, retried
from avprep.build.versions import versions
from avprep.config import Limits
from avprep.errors import ManifestError, UserError
from avprep.manifest.addresses import check_local, start_of
from avprep.manifest.checks import examine
from avprep.manifest.clips import Clips, values_of
from avprep.manifest.differences import change
from avprep.manifest.read_write import read_manifest, write_parquet
from avprep.quality.table import write_quality
from avprep.shared import configs, store
from avprep.shared.errors import listed
from avprep.shared.mirror import near

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Foreseen:
    """What an append would come to, as far as the manifest has it."""

    clips: int
    already: int
    shards: int
    new_classes: list[str]
    findings: list[str]
    """missing files and what else is odd"""


def append(
    folder: Path | str,
    manifest: Path | str,
    limits: Limits,
    *,
    date: str,
    root: Path | str | None = None,
    how: Execution,
    retry_failed: bool = False,
    allow_local_paths: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Appended:
    """Add the clips of a manifest that a finished dataset does not have, with the dataset's own options.

    `date` is for history.jsonl; the other arguments are as for build_shards(). Errors: UserError, before a clip is
    decoded, where a clip_id of the dataset has another row in the manifest; where no new clip is good; as build_shards.
    Interrupted once `stopping()`.
    """
    folder = local_dataset(folder)
    staging = folder / schema.APPEND
    start = start_of(manifest, root)
    with near(manifest) as path:
        given = read_manifest(path)
        if not allow_local_paths:
            check_local(given, manifest, start)
        _create(staging)
        with store.folder_lock(staging, "appending clips to"):
            try:
                growth, already = _planned(folder, given, manifest)
            except ManifestError:
                _discard_unplanned(folder)
                raise
            if growth is None:
                _discard_unplanned(folder)
                done = _nothing_new(folder, already)
            else:
                _write_plan(folder, staging, growth)
                _build(folder, staging, growth, path, start, limits, how, retry_failed, stopping)
                done = commit(folder, staging, growth, already, date)
    if (folder / schema.QUALITY).is_file():
        write_quality(folder, workers=how.workers, stopping=stopping)
    return done


def foresee(
    folder: Path | str, manifest: Path | str, *, root: Path | str | None = None, allow_local_paths: bool = False
) -> Foreseen:
    """What append() with the same arguments would add; nothing is decoded and nothing is written. Errors: as append."""
    folder = local_dataset(folder)
    start = start_of(manifest, root)
    with near(manifest) as path:
        given = read_manifest(path)
        if not allow_local_paths:
            check_local(given, manifest, start)
        growth, already = _planned(folder, given, manifest)
    if growth is None:
        return Foreseen(0, already, 0, [], [])
    new = np.arange(len(growth.clips)) >= growth.new.first_row
    findings = [*examine(growth.clips, new, start).lines(), *_other_versions(growth)]
    before = growth.parts[-2].classes
    return Foreseen(int(new.sum()), already, len(growth.new_shards), growth.plan["class_names"][before:], findings)


def local_dataset(folder: Path | str) -> Path:
    """The folder of a finished dataset that is about to change. Errors: UserError where it is none, or at a URL."""
    if isinstance(folder, str):
        raise UserError(f"{folder} is a URL; datasets grow on this machine alone: copy it here, and back afterwards.")
    if not (folder / schema.DATASET).is_file():
        raise UserError(f"{folder} is no finished dataset; 'avprep build-shards' makes one.")
    settle(folder)
    return folder


def _create(staging: Path) -> None:
    try:
        staging.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{staging} cannot be written ({error.strerror}); make room or permission there.") from None


def _discard_unplanned(folder: Path) -> None:
    if not (folder / schema.APPEND / schema.PLAN_BUILD).exists():
        discard(folder)


def _planned(folder: Path, given: Clips, manifest: Path | str) -> tuple[Growth | None, int]:
    """(the dataset with the clips that it does not have, how many it has); None where there are no others."""
    plan, shards = read_plan(folder / schema.PLAN_BUILD)
    old = read_manifest(folder / schema.PLAN_MANIFEST, as_stored=True)
    known = _same_rows(old, given, manifest)
    new = Clips(clip for clip in given if clip.clip_id not in known)
    if not len(new):
        return None, len(known)
    parts = parts_of(plan, shards)
    class_names = list(plan["class_names"])
    class_names += sorted(set(new.coded("label")[0]) - set(class_names))
    first_row = parts[-1].first_row + parts[-1].rows
    part = new_part(new, class_names, plan["config"], versions(), first_row)
    clips = Clips(clip for rows in (old, new) for clip in rows)
    there = Counter((shard.split, shard.class_id) for shard in shards)
    added = shards_of([part], new, class_names, there)
    return Growth(clips, plan_of([*parts, part], clips, class_names), [*parts, part], [*shards, *added]), len(known)


def _same_rows(old: Clips, given: Clips, manifest: Path | str) -> set[str]:
    """Ids of the clips that both have. Errors: ManifestError where a row of theirs differs."""
    ids = set(old.values("clip_id")) & set(given.values("clip_id"))
    if not ids:
        return ids
    before = {clip.clip_id: clip for clip in old if clip.clip_id in ids}
    changed = [
        change(before[clip.clip_id], clip)
        for clip in given
        if clip.clip_id in ids and values_of(clip) != values_of(before[clip.clip_id])
    ]
    if changed:
        raise ManifestError(
            f"{manifest} has other rows for clips that the dataset has, and nothing was changed; give new clips a "
            f"clip_id of their own, or take these out:{listed(changed)}"
        )
    return ids


def _write_plan(folder: Path, staging: Path, growth: Growth) -> None:
    """Write the plan of the dataset to be, or check that an append which is under way has the same one."""
    path = staging / schema.PLAN_BUILD
    if path.exists():
        old, _ = read_plan(path)
        if old["config_digest"] == growth.plan["config_digest"]:
            return
        changed = configs.differences(parts_of(old, [])[-1].plan["versions"], growth.new.plan["versions"])
        why = f" ({'; '.join(changed)})" if changed else ""
        raise UserError(
            f"{folder} has an append under way of other clips or versions{why}; repeat its own command, or delete "
            f"{staging} to give it up."
        )
    with store.atomic_path(staging / schema.PLAN_MANIFEST) as temporary:
        write_parquet(temporary, growth.clips)
    write_plan(path, growth.plan, growth.shards)


def _build(
    folder: Path,
    staging: Path,
    growth: Growth,
    manifest: Path,
    root: str,
    limits: Limits,
    how: Execution,
    retry_failed: bool,
    stopping: Callable[[], bool],
) -> None:
    """Build the new shards that are in neither folder."""
    back: list[str] = []
    again = retried(growth.clips, root, retry_failed, back)
    digest = growth.new.digest

    def bytes_of(name: str) -> int:
        return (staging / name if (staging / name).exists() else folder / name).stat().st_size

    todo = [
        shard
        for shard in growth.new_shards
        if not is_done(staging, shard, digest, again, bytes_of) and not is_done(folder, shard, digest, again)
    ]
    if not todo:
        return
    first = growth.new.first_row
    check_any((growth.clips[row] for row in range(first, len(growth.clips))), root, manifest)
    wanted = np.zeros(len(growth.clips), bool)
    for shard in todo:
        wanted[np.asarray(shard.rows)] = True
    findings = examine(growth.clips, wanted, root).lines()
    findings += _other_versions(growth)
    if findings:
        log.warning("%s\n  %s", manifest, "\n  ".join(findings))
    measured = (folder / schema.QUALITY).is_file()
    job = ShardJob(growth.clips, root, staging, growth.new.config, digest, limits, quality=measured)
    run_shards(todo, job, how, REPORT, stopping)


def _other_versions(growth: Growth) -> list[str]:
    """A sentence where the new clips are decoded by other versions than those before them."""
    changed = configs.differences(growth.parts[-2].plan["versions"], growth.new.plan["versions"])
    return [f"the new clips are built by other versions than the others: {'; '.join(changed)}"] if changed else []


def _nothing_new(folder: Path, already: int) -> Appended:
    digest = digest_of(store.read_json(folder / schema.DATASET))
    return Appended(0, already, {}, [], 0, [], [], digest)
