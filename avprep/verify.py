"""avprep verify: is every byte of a dataset folder what its build wrote?

The plan must follow from its own manifest, each done-marker from plan and tar, and index.parquet, failures.jsonl and
dataset.json from the markers: what an altered byte contradicts is found, wherever it stands. Label columns have no
digest: only their form is checked.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avprep import finalize, schema
from avprep.build import manifest_digest
from avprep.config import ShardSpec
from avprep.errors import UserError
from avprep.executors import map_local
from avprep.manifest import read_manifest
from avprep.shards import plan_shards, planned_to_json
from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.verify_decode import Sources, check_sources
from avprep.verify_shard import ShardCheck, check_shard, noting, read_canonical
from avprep.verify_tar import Context, DamageError

SHOWN_LEAVES = 5
HASHED = {schema.INDEX: "index_sha256", schema.PLAN_MANIFEST: "manifest_sha256"}


@dataclass
class Findings:
    """What verify came to. `problems` are lines `path: what is wrong`; `notes` are harmless."""

    shards: int = 0
    clips: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    context: Context | None = None
    """plan and manifest, where both are sound"""


def verify(folder: Path, workers: int, decode: Sources | None = None, quiet: bool = False) -> Findings:
    """Check a finished dataset folder with `workers` threads, reading each shard once; then, with `decode`, sources.

    Errors: UserError where the folder is no finished dataset. All else that is wrong is a problem, none hides another.
    """
    if not (folder / schema.DATASET).is_file():
        started = (folder / schema.PLAN_BUILD).is_file()
        what = "is a build that is not finalized" if started else "is no dataset"
        raise UserError(f"{folder} {what}; run '{'avprep finalize' if started else 'avprep build-shards'}' first.")
    found = Findings()
    info: dict[str, Any] = {}
    with noting(found.problems, schema.DATASET):
        info = read_canonical(folder / schema.DATASET)
    plan = _check_plan(folder, found, decode is not None)
    if info and plan and info.get("format") == plan.get("format") != schema.FORMAT:
        raise UserError(f"{folder} has format {info['format']!r}; this version verifies {schema.FORMAT}.")
    if decode is not None and found.context is not None and found.context.frame_codec == "raw":
        decode.must_find(found.context.clips)
    planned, listed = _shards_of(found, schema.PLAN_BUILD, plan), _shards_of(found, schema.DATASET, info)
    paths = [*planned, *sorted(set(listed) - set(planned))]
    checks: dict[str, ShardCheck] = {}
    with Progress(len(paths), "shards", "verify", quiet) as progress:

        def check(path: str) -> ShardCheck:
            return check_shard(folder, path, listed.get(path), planned.get(path), found.context)

        for done in map_local(check, paths, workers):
            checks[done.path] = done
            progress.advance()
    for path in paths:
        found.problems += checks[path].problems
    found.shards, found.bytes = len(paths), sum(done.bytes for done in checks.values())
    _check_strangers(folder, paths, found)
    markers = [checks[path].marker for path in planned]
    if found.context is None or any(marker is None for marker in markers):
        found.notes.append("index, dataset.json and failures could not be compared with the damaged plan or markers")
    else:
        _check_tables(folder, plan, [marker for marker in markers if marker is not None], info, found)
    _check_labels(folder, found)
    if decode is not None and found.context is not None:
        sound = [check for check in checks.values() if check.marker is not None and not check.problems]
        problems, notes = check_sources(folder, decode, found.context, sound, workers, quiet)
        found.problems += problems
        found.notes += notes
    return found


def _shards_of(found: Findings, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """What the file `name` says of each shard, by path."""
    with noting(found.problems, name):
        shards = values.get("shards", {})
        return {str(shard["path"]): shard for shard in shards} if isinstance(shards, list) else dict(shards)
    return {}


def _check_plan(folder: Path, found: Findings, decode: bool) -> dict[str, Any]:
    """plan/build.json ({} where unreadable), checked against its digests and its manifest."""
    plan: dict[str, Any] = {}
    sound, clips = False, []
    with noting(found.problems, schema.PLAN_BUILD):
        plan = read_canonical(folder / schema.PLAN_BUILD)
        if configs.digest({k: plan[k] for k in plan if k not in ("config_digest", "shards")}) != plan["config_digest"]:
            raise DamageError("was altered: its config_digest is of other values")
        sound = True
    with noting(found.problems, schema.PLAN_MANIFEST):
        rows = read_manifest(folder / schema.PLAN_MANIFEST)
        if sound and manifest_digest(rows) != plan["manifest_digest"]:
            raise DamageError("was altered: its rows are not those that the build was planned from")
        clips = rows
    if sound and clips:
        with noting(found.problems, schema.PLAN_BUILD):
            shards = planned_to_json(plan_shards(clips, plan["class_names"], ShardSpec(**plan["config"]["shards"])))
            altered = shards != plan.get("shards")
            plan["shards"] = shards
            found.context = Context(plan, clips, decode)
            if altered:
                raise DamageError("plans other shards than its manifest and options give")
    return plan


def _check_strangers(folder: Path, paths: list[str], found: Findings) -> None:
    """Files below shards/ that no plan names."""
    known = {name for path in paths for name in (path, schema.marker_path(path))}
    if found.context is None or found.context.frame_codec == "jpeg":
        known |= {schema.sizes_path(path) for path in paths}
    for base, _, names in os.walk(folder / "shards"):
        for name in sorted(names):
            path = (Path(base) / name).relative_to(folder).as_posix()
            if name.startswith(".") and name.endswith(".tmp"):
                found.notes.append(f"{path}: left by a build that was killed; delete it unless a build is running")
            elif path not in known:
                found.problems.append(f"{path}: is foreign: no shard of this name was planned")


def _check_tables(
    folder: Path, plan: dict[str, Any], markers: list[dict[str, Any]], info: dict[str, Any], found: Findings
) -> None:
    """index.parquet, dataset.json and failures.jsonl against what the markers make of them."""
    made = finalize.Gathered()
    excluded = _check_excluded(folder, found)
    with noting(found.problems, schema.PLAN_BUILD):
        made = finalize.gather(plan, markers, excluded)
        found.clips = made.clips
    with noting(found.problems, schema.FAILURES):
        if (folder / schema.FAILURES).read_bytes() != store.json_lines(made.failures):
            raise DamageError("does not list the failures that the done-markers tell")
    with noting(found.problems, schema.INDEX):
        _check_index(pq.read_table(folder / schema.INDEX), finalize.index_table(made))
    with noting(found.problems, schema.DATASET):
        wanted = finalize.dataset_values(folder, plan, made)
        for path, name in HASHED.items():
            if info and wanted[name] != info[name]:
                found.problems.append(f"{path}: has another sha256 than {schema.DATASET} says: one of them was altered")
                wanted[name] = info[name]
        leaves = _differing(info, wanted) if info else []
        if leaves:
            more = f" and {len(leaves) - SHOWN_LEAVES} more" if len(leaves) > SHOWN_LEAVES else ""
            raise DamageError(f"differs from plan and done-markers in {', '.join(leaves[:SHOWN_LEAVES])}{more}")


def _check_excluded(folder: Path, found: Findings) -> set[str]:
    """Ids of the clips taken out on request; each must be of the manifest, once."""
    ids: list[str] = []
    with noting(found.problems, schema.EXCLUDED):
        ids = [clip["clip_id"] for clip in finalize.excluded_clips(folder)]
        strangers = set(ids) - {clip.clip_id for clip in found.context.clips} if found.context else set()
        if strangers or len(set(ids)) != len(ids):
            raise DamageError(
                "names a clip twice" if not strangers else f"names no clip of the manifest: {min(strangers)!r}"
            )
    return set(ids)


def _check_index(table: pa.Table, wanted: pa.Table) -> None:
    """Errors: DamageError where index and markers differ."""
    if table.schema.names != wanted.schema.names or table.schema.types != wanted.schema.types:
        raise DamageError("has other columns than the format")
    if table.num_rows != wanted.num_rows:
        raise DamageError(f"has {table.num_rows} rows, the done-markers have {wanted.num_rows} clips")
    for name in table.schema.names:
        have, want = table.column(name).to_pylist(), wanted.column(name).to_pylist()
        if have != want:
            row = next(row for row, (one, other) in enumerate(zip(have, want, strict=True)) if one != other)
            raise DamageError(f"has {name} {have[row]!r} in row {row}, the done-marker says {want[row]!r}")


def _differing(have: Any, want: Any, name: str = "") -> list[str]:
    """Dotted names of the leaves in which two JSON values differ."""
    if isinstance(have, dict) and isinstance(want, dict):
        keys = sorted(set(have) | set(want))
        return [leaf for key in keys for leaf in _differing(have.get(key), want.get(key), f"{name}.{key}")]
    return [] if have == want else [name.lstrip(".")]


def _check_labels(folder: Path, found: Findings) -> None:
    """Label columns: of known clips, each once, within their class names."""
    for path in sorted((folder / "labels").glob("*.parquet")):
        name = schema.labels_path(path.stem)
        with noting(found.problems, name):
            table = pq.read_table(path)
            fixed = pa.schema(list(table.schema)[: len(schema.LABELS_SCHEMA)])  # others may follow
            if not fixed.equals(schema.LABELS_SCHEMA):
                raise DamageError("does not begin with the columns clip_id and label")
            ids, labels = (table.column(column).to_pylist() for column in schema.LABELS_SCHEMA.names)
            classes = len(json.loads(table.schema.metadata[schema.LABEL_NAMES_KEY]))
            if len(set(ids)) != len(ids):
                raise DamageError("names a clip twice")
            if found.context is not None:
                strangers = set(ids) - {clip.clip_id for clip in found.context.clips}
                if strangers:
                    raise DamageError(
                        f"names {len(strangers)} clips that the manifest does not have: {min(strangers)!r}"
                    )
            if any(not -1 <= label < classes for label in labels):
                raise DamageError(f"has labels beyond its {classes} class names")
