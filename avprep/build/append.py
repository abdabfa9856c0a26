"""avprep append: clips of another manifest become new shards of a finished dataset.

All that is new lies in DIR/append until it is whole, as a build of its own: plan, shards, reports. Then the shards get
their names below DIR/shards, the tables are written anew in DIR/append, and one rename of dataset.json commits them
(avprep/build/settle.py). A kill before that leaves the old dataset, one after it the new one, and the same command goes
on. No byte of an old shard or marker is touched.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avprep import schema
from avprep.build.execute import Execution, run_shards
from avprep.build.finalize import SHOWN_FAILURES, gather, write_tables
from avprep.build.manifest_lists import is_users_own, write_manifest_lists
from avprep.build.parts import Part, new_part, parts_of, plan_of, shards_of
from avprep.build.settle import committed, discard, move_tables, settle
from avprep.build.shards import PlannedShard, ShardJob, is_done, marked_files, read_marker, read_plan, write_plan
from avprep.build.sources import check_any, retried
from avprep.build.versions import versions
from avprep.config import Limits
from avprep.errors import ManifestError, UserError
from avprep.manifest.addresses import check_local, start_of
from avprep.manifest.checks import examine
from avprep.manifest.clips import Clips, values_of
from avprep.manifest.differences import change
from avprep.manifest.read_write import read_manifest, write_parquet
from avprep.shared import configs, names, store
from avprep.shared.errors import listed
from avprep.shared.mirror import near

REPORT = "reports/append.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Appended:
    """What an append came to."""

    clips: int
    """new ones in the index"""
    already: int
    """clips of the manifest that the dataset had, with the same row"""
    failures: dict[str, int]
    """new clips that failed, by reason"""
    failed_clips: list[tuple[str, str]]
    """id and reason of the first few of them"""
    shards: int
    """new ones"""
    new_classes: list[str]
    unlabelled: list[str]
    """label columns in which the new clips have no label"""
    digest: str
    """of the dataset now"""


@dataclass(frozen=True)
class Growth:
    """A dataset as it will be: its clips and plan, and which of its shards are new."""

    clips: Clips
    plan: dict[str, Any]
    parts: list[Part]
    shards: list[PlannedShard]

    @property
    def new(self) -> Part:
        """The part that comes."""
        return self.parts[-1]

    @property
    def new_shards(self) -> list[PlannedShard]:
        """Its shards."""
        return [shard for shard in self.shards if shard.rows[0] >= self.new.first_row]


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
                return _nothing_new(folder, already)
            _write_plan(folder, staging, growth)
            _build(folder, staging, growth, path, start, limits, how, retry_failed, stopping)
            return _commit(folder, staging, growth, already, date)


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
    job = ShardJob(growth.clips, root, staging, growth.new.config, digest, limits)
    run_shards(todo, job, how, REPORT, stopping)


def _other_versions(growth: Growth) -> list[str]:
    """A sentence where the new clips are decoded by other versions than those before them."""
    changed = configs.differences(growth.parts[-2].plan["versions"], growth.new.plan["versions"])
    return [f"the new clips are built by other versions than the others: {'; '.join(changed)}"] if changed else []


def _commit(folder: Path, staging: Path, growth: Growth, already: int, date: str) -> Appended:
    """Make the new shards and tables the dataset's. Errors: UserError where no new clip is good."""
    with store.folder_lock(folder, "appending clips to", wait=True):
        plan, shards = read_plan(folder / schema.PLAN_BUILD)
        if [part.digest for part in parts_of(plan, shards)] != [part.digest for part in growth.parts[:-1]]:
            raise UserError(f"{folder} was changed meanwhile; delete {staging} and repeat the command.")
        _check_good(folder, staging, growth)
        _move_shards(folder, staging, growth)
        before = store.read_json(folder / schema.DATASET)
        gathered = gather(folder, growth.plan, growth.shards)
        values = write_tables(folder, growth.plan, gathered, staging)
        if not is_users_own(folder):
            write_manifest_lists(staging)
        failures = _failures(folder, growth)
        old = sum(sum(classes.values()) for classes in before["counts"].values())
        entry = {
            "date": date,
            "command": "append",
            "clips": gathered.clips - old,
            "failed": len(failures),
            "digest_before": digest_of(before),
            "digest_after": digest_of(values),
            "index_sha256_before": before["index_sha256"],
        }
        history = folder / schema.HISTORY
        earlier = store.read_json_lines(history) if history.exists() else []
        store.write_json_lines(staging / schema.HISTORY, [*earlier, entry])
        store.write_json(folder / schema.DATASET, committed(values))
        move_tables(folder)
    return Appended(
        clips=gathered.clips - old,
        already=already,
        failures=dict(Counter(reason for _, reason in failures)),
        failed_clips=failures[:SHOWN_FAILURES],
        shards=len(growth.new_shards),
        new_classes=growth.plan["class_names"][len(plan["class_names"]) :],
        unlabelled=unlabelled_columns(folder),
        digest=str(entry["digest_after"]),
    )


def digest_of(values: dict[str, Any]) -> str:
    """The digest of a dataset by its dataset.json: that of Dataset.digest."""
    return configs.digest([values["index_sha256"], values["shards"]])


def unlabelled_columns(folder: Path) -> list[str]:
    """Names of the label columns but the manifest's own, of which nothing is known of clips that have come."""
    own = set() if is_users_own(folder) else {schema.MANIFEST_LABELS}
    return sorted({path.stem for path in (folder / "labels").glob("*.parquet")} - own)


def _check_good(folder: Path, staging: Path, growth: Growth) -> None:
    """UserError where not one new clip is good."""
    failed: list[str] = []
    for shard in growth.new_shards:
        marker = read_marker(
            staging if names.inside(staging, schema.marker_path(shard.path)).exists() else folder, shard
        )
        if marker["clips"]:
            return
        failed += [f"{failure['reason']}: {failure['clip_id']}" for failure in marker["failures"]]
    raise UserError(
        f"Not one of {len(failed)} new clips could be used, and {folder} is as it was; repair their files and repeat "
        f"the command with --retry-failed, or delete {staging} to give it up:{listed(failed)}"
    )


def _move_shards(folder: Path, staging: Path, growth: Growth) -> None:
    """Give the new shards their names in the dataset, each one's marker last."""
    folders = set()
    for shard in growth.new_shards:
        marker = schema.marker_path(shard.path)
        if not (staging / marker).exists():
            continue  # it has its name already
        (folder / marker).parent.mkdir(parents=True, exist_ok=True)
        for name in (*marked_files(read_marker(staging, shard)), marker):
            if (staging / name).exists():  # else a kill has come behind it
                os.replace(staging / name, folder / name)
        folders.add((folder / marker).parent)
    for one in folders:
        store.sync_folder(one)
    report = staging / REPORT
    if report.exists():
        (folder / REPORT).parent.mkdir(exist_ok=True)
        os.replace(report, folder / f"reports/append-{len(growth.parts) - 1}.json")


def _failures(folder: Path, growth: Growth) -> list[tuple[str, str]]:
    """Id and reason of the new clips that failed."""
    markers = (read_marker(folder, shard) for shard in growth.new_shards)
    return [(failure["clip_id"], failure["reason"]) for marker in markers for failure in marker["failures"]]


def _nothing_new(folder: Path, already: int) -> Appended:
    digest = digest_of(store.read_json(folder / schema.DATASET))
    return Appended(0, already, {}, [], 0, [], [], digest)
