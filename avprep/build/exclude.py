"""avprep exclude: clips taken out of a dataset's index on request (takedowns), with the reason on record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from avprep import schema
from avprep.build.commit import digest_of
from avprep.build.finalize import excluded_clips, finalize, usable_clips
from avprep.build.settle import settle
from avprep.dataset.history import EXCLUDE, read_history
from avprep.errors import UserError
from avprep.manifest.id_lists import read_ids
from avprep.shared import store
from avprep.shared.errors import listed


@dataclass(frozen=True)
class Excluded:
    """Clips newly excluded, of those asked for that already were, and left in the index."""

    new: int
    already: int
    left: int


def exclude(out: Path, clip_ids: list[str], reason: str, date: str) -> Excluded:
    """Take clips out of index.parquet and dataset.json's counts; each gets a line in excluded.jsonl.

    That line is written first, and every finalize honours it: build-shards keeps the exclusion, and the same command
    repairs the tables after a kill. A clip that is already excluded keeps its first reason and date. Clips that failed
    may be excluded too. The shards are not rewritten: they still hold the clips, and so do the log-mel statistics,
    which are sums over whole shards. Where the bytes must go, take the clips out of the manifest and build again.
    Errors: UserError, before anything is changed, with all ids that are not in the manifest; where no clip would be
    left; while a planned shard is missing.
    """
    known = _planned_ids(out)
    wanted = list(dict.fromkeys(clip_ids))
    unknown = [clip_id for clip_id in wanted if clip_id not in known]
    if unknown:
        raise UserError(f"{out} has no clips of these ids, and nothing was changed:{listed(unknown)}")
    with store.folder_lock(out, "excluding clips of", wait=True):
        before = excluded_clips(out)
        gone = {clip["clip_id"] for clip in before}
        new = [clip_id for clip_id in wanted if clip_id not in gone]
        gone.update(new)
        if all(clip_id in gone for clip_id in usable_clips(out)):
            raise UserError(f"{out} would have no clip left, and nothing was changed; delete the folder instead.")
        added = [{"clip_id": clip_id, "reason": reason, "date": date} for clip_id in new]
        store.write_json_lines(out / schema.EXCLUDED, before + added)
        _record(out, gone, date)
    return Excluded(len(new), len(wanted) - len(new), finalize(out).clips)


def _record(out: Path, gone: set[str], date: str) -> None:
    """Write into history.jsonl that clips go, unless the next finalize takes none, or it is written already."""
    index = out / schema.INDEX
    if not (out / schema.DATASET).is_file() or not index.is_file():
        return
    going = gone.intersection(pq.read_table(index, columns=["clip_id"]).column("clip_id").to_pylist())
    info = store.read_json(out / schema.DATASET)
    entry = {
        "date": date,
        "command": EXCLUDE,
        "clips": len(going),
        "digest_before": digest_of(info),
        "index_sha256_before": info["index_sha256"],
    }
    history = read_history(out / schema.HISTORY)
    if history and all(history[-1].get(name) == entry[name] for name in ("command", "digest_before")):
        history.pop()  # of the same command, which was killed
    if going:
        store.write_json_lines(out / schema.HISTORY, [*history, entry])


def ids_to_exclude(out: Path, path: Path) -> list[str]:
    """The clip ids of a list, those of the build in `out` first. Errors: UserError as of read_ids and `exclude`."""
    ids = read_ids(path, _planned_ids(out), ("clip_id",))
    return ids.known + ids.unknown


def _planned_ids(out: Path) -> set[str]:
    settle(out)
    manifest = out / schema.PLAN_MANIFEST
    if not manifest.is_file():
        raise UserError(f"{out} holds no build; 'avprep build-shards' makes one.")
    return set(pq.read_table(manifest, columns=["clip_id"]).column("clip_id").to_pylist())
