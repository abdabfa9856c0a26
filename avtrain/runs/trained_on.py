"""The clips that an encoder was trained on, in its run and the runs that it began from, and test clips among them.

A run's trained_on.parquet has a row a clip: id, source, length, and where its bytes lay (digest of the shard, offset).
"""

from __future__ import annotations

import logging
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep.dataset import Dataset
from avprep.dataset.joined import JoinedDataset
from avprep.shared import store
from avprep.shared.errors import UserError, first_line, some_of
from avprep.shared.urls import is_hub, split_address
from avtrain.runs.load import checkpoint_at

TRAINED_ON = "trained_on.parquet"
WHOLE = b"whole"  # of the metadata: b"1" where the clips of all runs that it began from are known
SAME_SECONDS = 0.1  # lengths of one clip, built by two versions, differ by less

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """Clips that were trained on; `whole` where these are all."""

    clips: pa.Table
    whole: bool


def write_record(run: Path, dataset: Dataset, rows: np.ndarray, init_from: str = "") -> None:
    """Write that a run trains on `rows` of a dataset, and on what the run or checkpoint `init_from` was trained on.

    A record that is there stays. Errors: UserError where it cannot be written.
    """
    if (run / TRAINED_ON).exists():
        return
    record = Record(clips_of(dataset, rows), True)
    if init_from:
        record = _joined(record, None if is_hub(init_from) else _begun_from(Path(init_from)))
    table = record.clips.replace_schema_metadata({WHOLE: b"1" if record.whole else b"0"})
    with store.atomic_path(run / TRAINED_ON) as temporary:
        pq.write_table(table, temporary)


def read_record(run: Path) -> Record | None:
    """The record of a run, None where it has none. Errors: UserError where it is damaged."""
    try:
        table = pq.read_table(run / TRAINED_ON)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{run / TRAINED_ON} cannot be read ({first_line(error)}); remove it; what the run was trained "
            "on counts as not known."
        ) from None
    return Record(table, (table.schema.metadata or {}).get(WHOLE) == b"1")


def clips_of(dataset: Dataset, rows: np.ndarray) -> pa.Table:
    """clip_id, source ('' where the dataset has no plan), seconds, shard_sha256, logmel_offset of some rows.

    Of several datasets: dataset after dataset, each clip with the id that it has there.
    """
    if isinstance(dataset, JoinedDataset):
        return pa.concat_tables([clips_of(part, own) for part, own in dataset.by_part(rows)])
    ids, facts = dataset.ids_of(rows), dataset.info["shards"]
    digests = pa.array([facts.get(shard, {}).get("sha256", "") for shard in dataset.shards], pa.string())
    return pa.table(
        {
            "clip_id": ids,
            "source": _sources(dataset, ids),
            "seconds": pa.array(dataset.duration_seconds[rows], pa.float64()),
            "shard_sha256": digests.take(pa.array(dataset.shard[rows])),
            "logmel_offset": pa.array(dataset.logmel_offset[rows], pa.int64()),
        }
    )


def overlap_with_training(
    run: Path | None, dataset: Dataset, rows: np.ndarray, shown: str | None = None
) -> dict[str, Any]:
    """What a result records of its test clips `rows`: {"known", "clips", "share", "examples"}; warns of overlaps.

    `known`: `all`, `part` (the runs that it began from have no record) or `none`; `run` None: an untrained encoder.
    `clips`: how many of the test clips were trained on, None where nothing is known. Warnings name
    the run as `shown`, by default by its folder. Errors: UserError.
    """
    if run is None:
        return {"known": "all", "clips": 0, "share": 0.0, "examples": []}
    record = read_record(run)
    shown = shown or str(run)
    if record is None:
        log.warning("%s does not record what it was trained on, so whether it has seen test clips is not known", shown)
        return {"known": "none", "clips": None, "share": None, "examples": []}
    mine = clips_of(dataset, rows)
    names = mine.column("clip_id").filter(pa.array(_same(mine, record.clips))).to_pylist()
    known, count = "all" if record.whole else "part", len(names)
    if count:
        log.warning(
            "%d of %d test clips (%.0f %%) are among the clips that %s was trained on, %s: the scores are not those of "
            "clips that it has not seen",
            count,
            len(rows),
            100 * count / len(rows),
            shown,
            some_of(names),
        )
    if not record.whole:
        log.warning("%s began from weights of which it is not known what they were trained on", shown)
    return {"known": known, "clips": count, "share": count / max(1, len(rows)), "examples": names[:3]}


def _same(mine: pa.Table, theirs: pa.Table) -> np.ndarray:
    """bool [clips of mine]: whether a clip is one of theirs: the same bytes, or the same id, source and length."""
    bytes_at = {
        (clip["shard_sha256"], clip["logmel_offset"])
        for clip in _shared(theirs, mine, "shard_sha256").to_pylist()
        if clip["shard_sha256"]
    }
    known: dict[str, list[tuple[str, float]]] = {}
    for clip in _shared(theirs, mine, "clip_id").to_pylist():
        known.setdefault(clip["clip_id"], []).append((clip["source"], clip["seconds"]))
    return np.array(
        [
            (clip["shard_sha256"], clip["logmel_offset"]) in bytes_at
            or any(
                abs(seconds - clip["seconds"]) < SAME_SECONDS and _one_source(source, clip["source"])
                for source, seconds in known.get(clip["clip_id"], [])
            )
            for clip in mine.to_pylist()
        ],
        bool,
    )


def _shared(theirs: pa.Table, mine: pa.Table, column: str) -> pa.Table:
    """Their rows whose value in a column mine have as well."""
    return theirs.filter(pc.is_in(theirs.column(column), value_set=mine.column(column).combine_chunks().unique()))


def _one_source(first: str, second: str) -> bool:
    """Whether two manifests, each in a folder of its own, may mean one file by these paths."""
    paths = (posixpath.normpath(split_address(path).as_path) for path in (first, second))
    one, other = ([part for part in path.split("/") if part != ".."] for path in paths)
    length = min(len(one), len(other))
    return bool(first and second) and one[-length:] == other[-length:]


def _sources(dataset: Dataset, ids: pa.Array) -> pa.Array:
    """The file of each clip as the manifest has it; of pictures and sound apart, that of the pictures."""
    try:
        plan = dataset.plan_columns("clip_id", "video_path", "audio_path")
    except FileNotFoundError:
        return pa.array([""] * len(ids), pa.string())
    rows = pc.index_in(ids, value_set=plan.column("clip_id").combine_chunks())
    video, audio = (plan.column(name).combine_chunks().take(rows) for name in ("video_path", "audio_path"))
    return pc.fill_null(pc.if_else(pc.equal(video, ""), audio, video), "")


def _begun_from(source: Path) -> Record | None:
    """The record of the run whose checkpoint, or folder, is at `source`; None where that is gone or has none."""
    try:
        return read_record(checkpoint_at(source).parent)
    except UserError:
        return None


def _joined(own: Record, earlier: Record | None) -> Record:
    if earlier is None:
        return Record(own.clips, False)
    clips = pa.concat_tables([own.clips, earlier.clips.select(own.clips.column_names)])
    return Record(clips.group_by(clips.column_names, use_threads=False).aggregate([]), earlier.whole)
