"""quality.parquet: measures and hashes of each clip of a dataset, one row a clip of the index, in its order.

Shards are measured one after the other, each in one of several processes; what is measured of a shard is kept in a part
of its own. The table joins the parts, a few shards in memory at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep import schema
from avprep.config import AudioSpec
from avprep.dataset import Dataset
from avprep.errors import Interrupted, UserError
from avprep.quality.measures import COLUMNS, VERSION, Measured, greys, measure, step_of
from avprep.quality.parts import has_part, origin_of, read_part, write_part
from avprep.shared import __version__, store
from avprep.shared.commands import Progress
from avprep.shared.processes import map_processes

PIECE_FRAMES = 512
"""stored frames of a clip in memory at a time"""
GROUP_ROWS = 8192
"""rows of the table in memory at a time, and those of a shard"""


@dataclass(frozen=True)
class Part:
    """A shard to be measured: where its dataset is, and its number there."""

    folder: Path
    index_sha256: str
    number: int


def write_quality(folder: Path, *, workers: int = 1, stopping: Callable[[], bool] = lambda: False) -> Path:
    """The path of the dataset's quality.parquet, made unless it is there for this very index.

    With one worker the clips are measured in this process. Errors: UserError where the folder is no finished dataset or
    a shard is damaged; Interrupted once `stopping()`: what has been measured is kept.
    """
    dataset = Dataset(folder)
    where = dataset.local_folder
    origin = _origin(dataset)
    if origin_of(where / schema.QUALITY) == origin:
        return where / schema.QUALITY
    parts = [Part(where, dataset.info["index_sha256"], number) for number in _unmeasured(dataset)]
    with Progress(len(parts), "shards", "quality") as progress:
        done = map(_measure_part, parts) if workers == 1 else map_processes(_measure_part, parts, workers, stopping)
        for _ in done:
            progress.advance()
            if stopping():
                raise Interrupted("what is measured is kept; the same command goes on from there")
    _join(dataset, where / schema.QUALITY, origin)
    return where / schema.QUALITY


def read_quality(dataset: Dataset, columns: list[str] | None = None) -> pa.Table:
    """Columns of quality.parquet, a row for each of the index, in its order. Errors: UserError of another one."""
    path = dataset.local_folder / schema.QUALITY
    if not path.is_file():
        raise UserError(f"{path} does not exist; 'avprep quality {dataset.folder}' writes it.")
    if origin_of(path) != _origin(dataset):
        raise UserError(
            f"{path} is of an earlier state of the dataset or of another version; 'avprep quality {dataset.folder}' "
            "writes it anew."
        )
    return pq.read_table(path, columns=columns)


def _origin(dataset: Dataset) -> dict[str, object]:
    return {"index_sha256": dataset.info["index_sha256"], "measures": VERSION}


def _unmeasured(dataset: Dataset) -> list[int]:
    """Numbers of the shards that have no part, or one without a clip of the index."""
    order = np.argsort(dataset.shard, kind="stable")
    ends = np.cumsum(np.bincount(dataset.shard, minlength=len(dataset.shards)))
    rows = np.split(order, ends[:-1])
    return [
        number
        for number, shard in enumerate(dataset.shards)
        if len(rows[number])
        and not has_part(dataset.local_folder, shard, _digest(dataset, shard), dataset.ids_of(rows[number]))
    ]


def _digest(dataset: Dataset, shard: str) -> str:
    return str(dataset.info["shards"][shard]["sha256"])


@functools.lru_cache(1)
def _opened(folder: Path, index_sha256: str) -> Dataset:
    """The dataset, opened once by each process."""
    return Dataset(folder)


def _measure_part(part: Part) -> None:
    dataset = _opened(part.folder, part.index_sha256)
    shard = dataset.shards[part.number]
    rows = np.flatnonzero(dataset.shard == part.number)
    ids = dataset.ids_of(rows).to_pylist()
    measured = [(name, measure_row(dataset, int(row))) for name, row in zip(ids, rows, strict=True)]
    write_part(part.folder, shard, _digest(dataset, shard), measured)


def measure_row(dataset: Dataset, row: int) -> Measured:
    """The measures of a clip, from its stored arrays. Errors: UserError where its shard is damaged."""
    step = step_of(dataset.frame_rate_hz)
    count = int(dataset.num_frames[row])
    pictures = None
    if count:
        pieces = range(0, count, PIECE_FRAMES // step * step)
        pictures = np.concatenate(
            [greys(dataset.read_frames(row, begin, min(begin + pieces.step, count), step)) for begin in pieces]
        )
    logmel = dataset.read_logmel(row)
    if not np.isfinite(logmel).all():
        raise UserError(
            f"The log-mel of {dataset.clip_ids[row]!r} is not finite; 'avprep verify' prints what to do about it."
        )
    return measure(
        pictures,
        dataset.frame_rate_hz / step,
        logmel,
        float(dataset.mel_rates_hz[row]),
        float(dataset.duration_seconds[row]),
        _spec(dataset),
    )


def _spec(dataset: Dataset) -> AudioSpec:
    return AudioSpec(**schema.named_downmix(dataset.info["audio"]))


def _join(dataset: Dataset, path: Path, origin: dict[str, object]) -> None:
    """Write the table of all parts, in the order of the index."""
    metadata = {
        schema.QUALITY_ORIGIN_KEY: store.json_text(origin, sort_keys=True),
        b"avprep": __version__,
    }
    described = COLUMNS.with_metadata(metadata)
    with store.atomic_path(path) as temporary, pq.ParquetWriter(temporary, described) as writer:
        for tables in _grouped(_parts_in_order(dataset)):
            writer.write_table(pa.concat_tables(tables))


def _parts_in_order(dataset: Dataset) -> Iterator[pa.Table]:
    """The measures of each run of rows of one shard in the index."""
    begins = np.append(0, np.flatnonzero(np.diff(dataset.shard)) + 1)
    for begin, end in zip(begins, np.append(begins[1:], len(dataset)), strict=True):
        ids = dataset.ids_of(np.arange(begin, end))
        table = read_part(dataset.local_folder, dataset.shards[dataset.shard[begin]])
        rows = pc.index_in(ids, value_set=table.column("clip_id").combine_chunks())
        yield table.take(rows)


def _grouped(tables: Iterator[pa.Table]) -> Iterator[list[pa.Table]]:
    """The tables in lists of about GROUP_ROWS rows."""
    group: list[pa.Table] = []
    for table in tables:
        group.append(table)
        if sum(map(len, group)) >= GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group
