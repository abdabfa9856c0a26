"""avprep merge: datasets of the same features become one, without decoding: their shards are copied as they are.

The merged dataset has the parts of all of them, one behind the other, and class names by name: those of the first, then
those that are new. Markers are written anew, since rows, class ids and numbers of shards change; tars do not.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep import schema
from avprep.build.append import local_dataset
from avprep.build.commit import digest_of
from avprep.build.finalize import excluded_clips, finalize
from avprep.build.parts import FIRST_ROW, Part, digests_of, parts_of, plan_of
from avprep.build.shards import PlannedShard, is_done, marked_files, read_marker, read_plan, write_plan
from avprep.dataset.history import read_history
from avprep.dataset.joined import feature_differences
from avprep.errors import UserError
from avprep.labels.merge import merge_columns
from avprep.manifest.clips import Clips
from avprep.manifest.read_write import read_manifest, write_parquet
from avprep.quality.table import write_quality
from avprep.shared import names, store
from avprep.shared.commands import Progress
from avprep.shared.errors import listed


@dataclass(frozen=True)
class Source:
    """A dataset that is merged: its folder, plan, shards, manifest, and where its rows begin in the new one."""

    folder: Path
    plan: dict[str, Any]
    shards: list[PlannedShard]
    clips: Clips
    first_row: int


@dataclass(frozen=True)
class Move:
    """A shard on its way: where it comes from, what it was planned as there, and what it is now."""

    source: Source
    old: PlannedShard
    new: PlannedShard


@dataclass(frozen=True)
class Merged:
    """What a merge came to."""

    clips: int
    classes: int
    shards: int
    columns: list[str]
    """label columns that were joined"""
    digest: str
    unmeasured: list[str]
    """those without a quality.parquet, where others have one: the dataset has none then"""


def merge(folders: Sequence[Path | str], out: Path | str, *, date: str, link: bool = False) -> Merged:
    """Make the dataset `out` of all clips of the datasets `folders`; the same command resumes.

    With `link`, shards are hard links to the old ones, which takes no room. Errors: UserError, before anything is
    written, where features differ or a clip_id is in two of them; where a shard is damaged; where `out` holds anything
    else.
    """
    if isinstance(out, str):
        raise UserError(
            f"{out} is a URL; datasets are merged on this machine alone: choose a folder, and copy it there."
        )
    if len(folders) < 2:
        raise UserError("A merge needs two datasets or more.")
    sources = _opened(folders)
    _check_features(sources)
    _check_ids(sources)
    class_names = list(dict.fromkeys(name for source in sources for name in source.plan["class_names"]))
    parts = [part for source in sources for part in _parts_in(source, class_names)]
    clips = Clips(clip for source in sources for clip in source.clips)
    moves = _moves(sources, class_names)
    plan = plan_of(parts, clips, class_names)
    _claim(out, plan, clips, [move.new for move in moves])
    with store.folder_lock(out, "merging into"):
        _copy(out, moves, parts, link)
        excluded = [clip for source in sources for clip in excluded_clips(source.folder)]
        if excluded and not (out / schema.EXCLUDED).exists():  # later ones are the merged dataset's own
            store.write_json_lines(out / schema.EXCLUDED, excluded)
        if not (out / schema.HISTORY).exists():
            store.write_json_lines(out / schema.HISTORY, [_history(sources, date)])
    totals = finalize(out)
    columns = merge_columns([source.folder for source in sources], out)
    digest = digest_of(store.read_json(out / schema.DATASET))
    unmeasured = [str(source.folder) for source in sources if not (source.folder / schema.QUALITY).is_file()]
    if not unmeasured:
        write_quality(out)
    unmeasured = unmeasured if len(unmeasured) < len(sources) else []
    return Merged(totals.clips, len(class_names), len(moves), columns, digest, unmeasured)


def _opened(folders: Sequence[Path | str]) -> list[Source]:
    sources: list[Source] = []
    for folder in folders:
        own = local_dataset(folder)
        if any(own.samefile(other.folder) for other in sources):
            raise UserError(f"{own} is given twice; give each dataset once.")
        first = sources[-1].first_row + len(sources[-1].clips) if sources else 0
        plan, shards = read_plan(own / schema.PLAN_BUILD)
        sources.append(Source(own, plan, shards, read_manifest(own / schema.PLAN_MANIFEST, as_stored=True), first))
    return sources


def _check_features(sources: list[Source]) -> None:
    """UserError where frames or log-mel of two datasets are not the same."""
    for source in sources[1:]:
        changed = feature_differences(sources[0].plan["config"], source.plan["config"])
        if changed:
            raise UserError(
                f"{sources[0].folder} and {source.folder} have other features and cannot be merged; build one of them "
                "again with the options of the other:\n  " + "\n  ".join(changed)
            )


def _check_ids(sources: list[Source]) -> None:
    """UserError where a clip is in two datasets."""
    counts = Counter(clip_id for source in sources for clip_id in source.clips.values("clip_id"))
    twice = [clip_id for clip_id, count in counts.items() if count > 1]
    if twice:
        raise UserError(
            f"{len(twice)} clip ids are in more than one of the datasets, and nothing was written; build one of them "
            f"without these clips, or with a clip_id of their own:{listed(twice)}"
        )


def _parts_in(source: Source, class_names: list[str]) -> list[Part]:
    """The parts of a source as they are behind those before it; the class names are those of the merged dataset.

    The first source keeps its parts as they are.
    """
    parts = []
    for part in parts_of(source.plan, source.shards):
        if not source.first_row:
            parts.append(part)
            continue
        first = part.first_row + source.first_row
        plan = {name: value for name, value in part.plan.items() if name != "config_digest"} | {FIRST_ROW: first}
        new = Part(first, part.rows, len(class_names), plan)
        plan["config_digest"] = new.digest_by(class_names)
        parts.append(new)
    return parts


def _moves(sources: list[Source], class_names: list[str]) -> list[Move]:
    """Each shard with its new name, in the order of the parts and, in these, by split, class id and number."""
    number_of = {name: number for number, name in enumerate(class_names)}
    there: Counter[tuple[str, int]] = Counter()
    moves = []
    for source in sources:
        begins = [part.first_row for part in parts_of(source.plan, source.shards)]

        def position(shard: PlannedShard, source: Source = source, begins: list[int] = begins) -> tuple[Any, ...]:
            part = sum(begin <= shard.rows[0] for begin in begins)
            return part, shard.split, number_of[source.plan["class_names"][shard.class_id]], shard.rows[0]

        for old in sorted(source.shards, key=position):
            _, split, class_id, _ = position(old)
            path = schema.shard_path(split, class_id, class_names[class_id], there[split, class_id])
            there[split, class_id] += 1
            rows = [row + source.first_row for row in old.rows]
            moves.append(Move(source, old, PlannedShard(path, split, class_id, rows)))
    return moves


def _claim(out: Path, plan: dict[str, Any], clips: Clips, shards: list[PlannedShard]) -> None:
    """Write the plan, or check that it is there. Errors: UserError where `out` holds anything else."""
    path = out / schema.PLAN_BUILD
    if path.exists():
        if read_plan(path)[0]["config_digest"] != plan["config_digest"]:
            raise UserError(f"{out} holds another dataset; choose another --out.")
        return
    if out.exists() and any(entry.name not in ("plan", store.LOCK) for entry in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no dataset; choose another --out.")
    with store.atomic_path(out / schema.PLAN_MANIFEST) as temporary:
        write_parquet(temporary, clips)
    write_plan(path, plan, shards)


def _copy(out: Path, moves: list[Move], parts: list[Part], link: bool) -> None:
    """Copy the shards that are not there yet, each one's marker last."""
    digest_by = digests_of(parts)
    with Progress(len(moves), "shards", "merge") as progress:
        for move in moves:
            if not is_done(out, move.new, digest_by(move.new)):
                _copy_shard(out, move, digest_by(move.new), link)
            progress.advance()


def _copy_shard(out: Path, move: Move, digest: str, link: bool) -> None:
    """Copy one shard. Errors: UserError where it is not what its marker records."""
    marker = read_marker(move.source.folder, move.old)
    here = {
        move.old.path: (move.new.path, "sha256"),
        schema.sizes_path(move.old.path): (schema.sizes_path(move.new.path), "sizes_sha256"),
    }
    for name, size in marked_files(marker).items():
        old, (new, key) = names.inside(move.source.folder, name), here[name]
        if not old.is_file() or old.stat().st_size != size:
            raise UserError(
                f"{old} is missing or of another size than its marker has; 'avprep verify' prints a repair."
            )
        if link:
            names.inside(out, new).unlink(missing_ok=True)  # of a kill: a link does not replace another of one file
        with store.atomic_path(names.inside(out, new)) as temporary:
            _take(old, temporary, link)
            if not link and store.sha256(temporary) != marker[key]:
                raise UserError(f"{old} has other bytes than its marker records; 'avprep verify' prints a repair.")
    measures = names.inside(move.source.folder, schema.quality_path(move.old.path))
    if measures.is_file():
        with store.atomic_path(names.inside(out, schema.quality_path(move.new.path))) as temporary:
            shutil.copyfile(measures, temporary)
    marker |= {"shard": move.new.path, "config_digest": digest}
    for entry in (*marker["clips"], *marker["failures"]):
        entry["row"] += move.source.first_row
    store.write_json(names.inside(out, schema.marker_path(move.new.path)), marker)


def _take(old: Path, new: Path, link: bool) -> None:
    if not link:
        shutil.copyfile(old, new)
        return
    new.unlink()
    try:
        os.link(old, new)
    except OSError as error:
        raise UserError(f"{old} cannot be linked ({error.strerror}); leave --link out, and it is copied.") from None


def _history(sources: list[Source], date: str) -> dict[str, Any]:
    """The first line of history.jsonl of the merged dataset."""
    datasets: list[dict[str, Any]] = [
        {
            "dataset": source.folder.resolve().name,
            "clips": sum(sum(counts.values()) for counts in info["counts"].values()),
            "digest": digest_of(info),
            "history": read_history(source.folder / schema.HISTORY),
        }
        for source in sources
        for info in [store.read_json(source.folder / schema.DATASET)]
    ]
    clips = sum(int(one["clips"]) for one in datasets)
    return {"date": date, "command": "merge", "clips": clips, "datasets": datasets}
