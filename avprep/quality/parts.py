"""The measures of one shard's clips as a small table of its own, which fits the shard's very bytes and no others.

So an interrupted command goes on where it was, a dataset that has grown measures its new shards alone, and a build
writes what it measures while decoding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep import schema
from avprep.dataset.reading import UNREADABLE
from avprep.quality.measures import COLUMNS, VERSION, Measured
from avprep.shared import names, store


def part_origin(shard_sha256: str) -> dict[str, Any]:
    """What a part records of itself."""
    return {"shard_sha256": shard_sha256, "measures": VERSION}


def write_part(folder: Path, shard: str, sha256: str, clips: Iterable[tuple[str, Measured]]) -> None:
    """Write the measures of a shard, clip ids with theirs, atomically. `shard` is its path in the dataset folder."""
    ids, measured = [], []
    for clip_id, values in clips:
        ids.append(clip_id)
        measured.append(values)
    columns = {"clip_id": pa.array(ids, pa.string())}
    for one in fields(Measured):
        mine = [getattr(clip, one.name) for clip in measured]
        columns[one.name] = pa.array(mine, COLUMNS.field(one.name).type)
    metadata = {schema.QUALITY_ORIGIN_KEY: store.json_text(part_origin(sha256), sort_keys=True)}
    with store.atomic_path(names.inside(folder, schema.quality_path(shard))) as temporary:
        pq.write_table(pa.table(columns, schema=COLUMNS.with_metadata(metadata)), temporary)


def origin_of(path: Path) -> dict[str, Any]:
    """The origin that a table records; {} where there is no such table, or none that can be read."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            fits = file.schema_arrow.names == COLUMNS.names
        origin = json.loads(metadata.get(schema.QUALITY_ORIGIN_KEY, b"{}"))
    except (*UNREADABLE, OSError):
        return {}
    return origin if fits and isinstance(origin, dict) else {}


def has_part(folder: Path, shard: str, sha256: str, clip_ids: pa.Array) -> bool:
    """Whether the measures of these clips of this shard are there."""
    if origin_of(names.inside(folder, schema.quality_path(shard))) != part_origin(sha256):
        return False
    measured = read_part(folder, shard).column("clip_id").combine_chunks()
    return bool(pc.all(pc.is_in(clip_ids, value_set=measured)).as_py())


def read_part(folder: Path, shard: str) -> pa.Table:
    """The measures of a shard."""
    return pq.read_table(names.inside(folder, schema.quality_path(shard))).cast(COLUMNS)
