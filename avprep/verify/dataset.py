"""avprep verify: is every byte of a dataset folder what its build wrote?

The plan must follow from its own manifest, each done-marker from plan and tar, and index.parquet, failures.jsonl and
dataset.json from the markers: what an altered byte contradicts is reported, wherever it is. Label columns have no
digest: only their form is checked.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep import schema
from avprep.build import finalize
from avprep.build.parts import PARTS, Part, manifest_digest, parts_of, shards_of
from avprep.build.settle import settle
from avprep.build.shards import PlannedShard, planned_from_json, planned_to_json, read_plan
from avprep.build.threads import map_local
from avprep.dataset.history import read_history
from avprep.errors import UserError
from avprep.manifest.clips import Clips
from avprep.manifest.read_write import read_manifest
from avprep.shared import configs, names
from avprep.shared.arrow import PIECE_ROWS
from avprep.shared.commands import Progress
from avprep.verify.shard import ShardCheck, check_shard, noting, read_canonical
from avprep.verify.sources import Chosen, Sources, check_sources, choose
from avprep.verify.tar import Context, DamageError

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
    settle(folder)
    findings = Findings()
    info: dict[str, Any] = {}
    with noting(findings.problems, schema.DATASET):
        info = dict(read_canonical(folder / schema.DATASET))
    plan, shards = _check_plan(folder, findings, decode is not None)
    if info and plan and info.get("format") == plan.get("format") != schema.FORMAT:
        raise UserError(f"{folder} has format {info.get('format')!r}; this version verifies {schema.FORMAT}.")
    if decode is not None and findings.context is not None and findings.context.frame_codec == "raw":
        decode.must_find(findings.context.clips)
    made = finalize.Gathered(folder, _check_excluded(folder, findings))
    planned, listed = {shard.path: shard for shard in shards}, _listed_shards(findings, info)
    paths = [*planned, *sorted(set(listed) - set(planned))]
    comparable = findings.context is not None
    todo: list[Chosen] = []
    absent = 0

    def check(path: str) -> ShardCheck:
        return check_shard(folder, path, listed.get(path), planned.get(path), findings.context)

    with Progress(len(paths), "shards", "verify", quiet) as progress:
        for done in _in_order(map_local(check, paths, workers), paths):  # only sums of a marker are kept
            progress.advance()
            findings.problems += done.problems
            findings.shards, findings.bytes = findings.shards + 1, findings.bytes + done.bytes
            if done.path in planned and comparable:
                comparable = done.marker is not None and _added(made, planned[done.path], done, findings)
            if decode is not None and findings.context is not None and done.marker is not None and not done.problems:
                chosen, without_source = choose(decode, findings.context, done)
                todo, absent = todo + chosen, absent + without_source
    _check_strangers(folder, paths, findings)
    if comparable:
        _check_tables(folder, plan, made, info, findings)
    else:
        findings.notes.append("index, dataset.json and failures could not be compared with the damaged plan or markers")
    _check_labels(folder, findings)
    if decode is not None and findings.context is not None:
        problems, notes = check_sources(folder, decode, findings.context, todo, absent, workers, quiet)
        findings.problems += problems
        findings.notes += notes
    return findings


def _in_order(checks: Iterator[ShardCheck], paths: list[str]) -> Iterator[ShardCheck]:
    """The checks in the order of `paths`; those that come too early wait."""
    early: dict[str, ShardCheck] = {}
    for path in paths:
        while path not in early:
            done = next(checks)
            early[done.path] = done
        yield early.pop(path)


def _added(made: finalize.Gathered, shard: PlannedShard, check: ShardCheck, findings: Findings) -> bool:
    """Whether the marker of `check` could be added to what the tables are made of."""
    with noting(findings.problems, schema.marker_path(shard.path)):
        made.add(shard, check.marker or {})
        return True
    return False


def _listed_shards(findings: Findings, info: dict[str, Any]) -> dict[str, Any]:
    """What dataset.json records of each shard, by path."""
    listed = {}
    with noting(findings.problems, schema.DATASET):
        for path, facts in info.get("shards", {}).items():
            with noting(findings.problems, schema.DATASET):
                listed[names.checked(path, schema.DATASET, schema.SHARD_PATTERN)] = dict(facts)
    return listed


def _check_plan(folder: Path, findings: Findings, decode: bool) -> tuple[dict[str, Any], list[PlannedShard]]:
    """plan/build.json and its shards (none where unreadable), checked against its digests and its manifest."""
    plan: dict[str, Any] = {}
    shards: list[PlannedShard] = []
    sound, clips = False, None
    with noting(findings.problems, schema.PLAN_BUILD):
        plan = read_canonical(folder / schema.PLAN_BUILD, planned_from_json, planned_to_json)
        shards = [shard for shard in plan.pop("shards") if isinstance(shard, PlannedShard)]
        if configs.digest({k: plan[k] for k in plan if k != "config_digest"}) != plan["config_digest"]:
            raise DamageError("was altered: its config_digest is of other values")
        sound = True
    with noting(findings.problems, schema.PLAN_MANIFEST):
        rows = read_manifest(folder / schema.PLAN_MANIFEST, as_stored=True)
        if sound and manifest_digest(rows) != plan["manifest_digest"]:
            raise DamageError("was altered: its rows are not those that the build was planned from")
        clips = rows
    if sound and clips is not None:
        with noting(findings.problems, schema.PLAN_BUILD):
            written = shards
            parts = parts_of(plan, written)
            if PARTS in plan:
                _check_parts(parts, clips, plan["class_names"])
            shards = shards_of(parts, clips, plan["class_names"])
            findings.context = Context(plan, clips, decode)
            if shards != written:
                raise DamageError("plans other shards than its manifest and options give")
    return plan, shards


def _check_parts(parts: list[Part], clips: Clips, class_names: list[str]) -> None:
    """Each part of several must follow from its own rows and values. Errors: DamageError."""
    rest = iter(clips)
    for number, part in enumerate(parts, start=1):
        if manifest_digest(itertools.islice(rest, part.rows)) != part.plan["manifest_digest"]:
            raise DamageError(f"was altered: its part {number} is of other rows than the manifest has there")
        if part.digest_by(class_names) != part.digest:
            raise DamageError(f"was altered: the config_digest of its part {number} is of other values")


def _check_strangers(folder: Path, paths: list[str], findings: Findings) -> None:
    """Files below shards/ that no plan names."""
    known = {name for path in paths for name in (path, schema.marker_path(path))}
    if findings.context is None or findings.context.frame_codec == "jpeg":
        known |= {schema.sizes_path(path) for path in paths}
    known |= _appended(folder, findings)
    for base, _, files in os.walk(folder / "shards"):
        for name in sorted(files):
            path = (Path(base) / name).relative_to(folder).as_posix()
            if name.startswith(".") and name.endswith(".tmp"):
                findings.notes.append(f"{path}: left by a build that was killed; delete it unless a build is running")
            elif path not in known:
                findings.problems.append(f"{path}: is foreign: no shard of this name was planned")


def _appended(folder: Path, findings: Findings) -> set[str]:
    """Files below shards/ that an append under way may have put there."""
    plan = folder / schema.APPEND / schema.PLAN_BUILD
    if not plan.exists():
        return set()
    findings.notes.append(f"{schema.APPEND}/: an append is under way; its own command finishes it")
    with noting(findings.problems, f"{schema.APPEND}/{schema.PLAN_BUILD}"):
        paths = [shard.path for shard in read_plan(plan)[1]]
        return {name for path in paths for name in (path, schema.marker_path(path), schema.sizes_path(path))}
    return set()


def _check_tables(
    folder: Path, plan: dict[str, Any], made: finalize.Gathered, info: dict[str, Any], findings: Findings
) -> None:
    """index.parquet, dataset.json and failures.jsonl against what the markers make of them."""
    findings.clips = made.clips
    with noting(findings.problems, schema.FAILURES), open(folder / schema.FAILURES, "rb") as lines:
        if any(have != want for have, want in itertools.zip_longest(lines, made.failures.lines())):
            raise DamageError("does not list the failures that the done-markers record")
    with noting(findings.problems, schema.HISTORY):
        read_history(folder / schema.HISTORY)
    with noting(findings.problems, schema.INDEX), pq.ParquetFile(folder / schema.INDEX) as index:
        _check_index(index, made.index())
    with noting(findings.problems, schema.DATASET):
        wanted = finalize.dataset_values(folder, plan, made)
        for path, name in HASHED.items():
            if info and wanted[name] != info[name]:
                findings.problems.append(
                    f"{path}: has another sha256 than {schema.DATASET} records: one of them was altered"
                )
                wanted[name] = info[name]
        leaves = _differing(info, wanted) if info else []
        if leaves:
            more = f" and {len(leaves) - SHOWN_LEAVES} more" if len(leaves) > SHOWN_LEAVES else ""
            raise DamageError(f"differs from plan and done-markers in {', '.join(leaves[:SHOWN_LEAVES])}{more}")


def _check_excluded(folder: Path, findings: Findings) -> set[str]:
    """Ids of the clips taken out on request; each must be of the manifest, once."""
    ids: list[str] = []
    with noting(findings.problems, schema.EXCLUDED):
        ids = [clip["clip_id"] for clip in finalize.excluded_clips(folder)]
        strangers = _strangers(findings.context, pa.array(ids, pa.string())) if findings.context and ids else []
        if strangers or len(set(ids)) != len(ids):
            raise DamageError(
                "names a clip twice" if not strangers else f"names no clip of the manifest: {min(strangers)!r}"
            )
    return set(ids)


def _check_index(index: pq.ParquetFile, wanted: pa.Table) -> None:
    """Errors: DamageError where index and markers differ."""
    have = index.schema_arrow
    if have.names != wanted.schema.names or have.types != wanted.schema.types:
        raise DamageError("has other columns than the format")
    rows = index.metadata.num_rows
    if rows != wanted.num_rows:
        raise DamageError(f"has {rows} rows, the done-markers have {wanted.num_rows} clips")
    for name in have.names:
        column = index.read([name]).column(name)
        for begin in range(0, rows, PIECE_ROWS):
            ours, theirs = (part.slice(begin, PIECE_ROWS).to_pylist() for part in (wanted.column(name), column))
            for row, (one, other) in enumerate(zip(theirs, ours, strict=True), start=begin):
                if one != other:
                    raise DamageError(f"has {name} {one!r} in row {row}, the done-marker has {other!r}")


def _differing(have: Any, want: Any, name: str = "") -> list[str]:
    """Dotted names of the leaves in which two JSON values differ."""
    if isinstance(have, dict) and isinstance(want, dict):
        keys = sorted(set(have) | set(want))
        return [leaf for key in keys for leaf in _differing(have.get(key), want.get(key), f"{name}.{key}")]
    return [] if have == want else [name.lstrip(".")]


def _check_labels(folder: Path, findings: Findings) -> None:
    """Label columns: of known clips, each once, within their class names, or lists of names."""
    for path in sorted((folder / "labels").glob("*.parquet")):
        name = schema.labels_path(path.stem)
        with noting(findings.problems, name):
            table = pq.read_table(path)
            fixed = pa.schema(list(table.schema)[: len(schema.LABELS_SCHEMA)])  # others may follow
            several = fixed.equals(schema.LABEL_LISTS_SCHEMA)
            if not several and not fixed.equals(schema.LABELS_SCHEMA):
                raise DamageError("does not begin with the columns clip_id and label, or clip_id and labels")
            ids, labels = (table.column(column) for column in fixed.names)
            if pc.count_distinct(ids, "all").as_py() != len(ids):
                raise DamageError("names a clip twice")
            strangers = _strangers(findings.context, ids) if findings.context is not None else []
            if strangers:
                raise DamageError(f"names {len(strangers)} clips that the manifest does not have: {min(strangers)!r}")
            if several:
                if pc.list_flatten(labels).null_count:
                    raise DamageError("has a label without a name")
                continue
            classes = len(json.loads(table.schema.metadata[schema.LABEL_NAMES_KEY]))
            if labels.null_count or any(not -1 <= label < classes for label in pc.unique(labels).to_pylist()):
                raise DamageError(f"has labels beyond its {classes} class names")


def _strangers(context: Context, ids: pa.Array | pa.ChunkedArray) -> list[str]:
    """Those of `ids` that are of no clip of the manifest."""
    return ids.filter(pc.invert(pc.is_in(ids, value_set=context.clips.column("clip_id")))).to_pylist()
