"""The second half of an append: shards that are whole in DIR/append become the dataset's, with its tables.

The shards get their names below DIR/shards, the tables are written anew in DIR/append, and one rename of dataset.json
commits them (avprep/build/settle.py). A kill before that leaves the old dataset, one after it the new one.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep import schema
from avprep.build.finalize import SHOWN_FAILURES, gather, write_tables
from avprep.build.manifest_lists import is_users_own, write_manifest_lists
from avprep.build.parts import Part, parts_of
from avprep.build.settle import committed, move_tables
from avprep.build.shards import PlannedShard, marked_files, read_marker, read_plan
from avprep.errors import UserError
from avprep.manifest.clips import Clips
from avprep.shared import configs, names, store
from avprep.shared.errors import listed

REPORT = "reports/append.json"


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


def commit(folder: Path, staging: Path, growth: Growth, already: int, date: str) -> Appended:
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
    """Give the new shards, and their measures, their names in the dataset, each one's marker last."""
    folders = set()
    for shard in growth.new_shards:
        marker = schema.marker_path(shard.path)
        if not names.inside(staging, marker).exists():
            continue  # it has its name already
        for name in (schema.quality_path(shard.path), *marked_files(read_marker(staging, shard)), marker):
            old, new = names.inside(staging, name), names.inside(folder, name)
            if old.exists():  # else there is none, or a kill has come behind it
                new.parent.mkdir(parents=True, exist_ok=True)
                os.replace(old, new)
                folders.add(new.parent)
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
