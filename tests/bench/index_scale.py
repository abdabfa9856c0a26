"""Ten million clips: seconds to open the index and to the first batch of each strategy, and peak memory. Index only.

    python -m tests.bench.index_scale [CLIPS]

Each strategy in a process of its own, as a training run would be; 309 classes, 64 clips a shard.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep import schema
from avprep.config import AudioSpec, VideoSpec
from avprep.dataset import Dataset
from avprep.shared import configs, store
from avtrain.data.plans import strategy_of, training_table
from avtrain.sampling import STRATEGIES

CLASSES, SHARD_CLIPS, BATCH, CLIP_BYTES = 309, 64, 256, 6_300_000


def synthetic(folder: Path, clips: int) -> None:
    """index.parquet and dataset.json of `clips` clips, whose shards are nowhere."""
    row = np.arange(clips)
    label = (row * CLASSES // clips).astype(np.int32)
    shard = (row // SHARD_CLIPS).astype(np.int32)
    names = [f"shards/train/c/{number:06d}.tar" for number in range(int(shard[-1]) + 1)]
    offset = (row % SHARD_CLIPS) * CLIP_BYTES + 1024
    ids = pa.array(np.char.add("clip", row.astype(str)))
    columns = {
        "clip_id": ids,
        "key": ids,
        "split": pa.DictionaryArray.from_arrays(np.zeros(clips, np.int32), ["train"]),
        "label": label,
        "shard": pa.DictionaryArray.from_arrays(shard, names),
        "frames_offset": offset,
        "frames_bytes": np.full(clips, 6_021_120),
        "num_frames": np.full(clips, 160, np.int32),
        "sizes_position": np.full(clips, -1),
        "logmel_offset": offset + 6_022_000,
        "num_mel_frames": np.full(clips, 1001, np.int32),
        "duration_seconds": np.full(clips, 10.0),
        "av_offset_seconds": np.zeros(clips),
    }
    pq.write_table(
        pa.table([columns[n] for n in schema.INDEX_SCHEMA.names], schema=schema.INDEX_SCHEMA), folder / schema.INDEX
    )
    info = {
        "format": schema.FORMAT,
        "video": configs.to_dict(VideoSpec()),
        "audio": configs.to_dict(AudioSpec()),
        "class_names": [f"c{number}" for number in range(CLASSES)],
        "shards": {name: {"bytes": SHARD_CLIPS * CLIP_BYTES, "sha256": ""} for name in names},
        "index_sha256": "",
    }
    store.write_json(folder / schema.DATASET, info)


def first_batch(folder: str, name: str) -> None:
    """Open the index and plan one batch; print what it took."""
    begin = time.perf_counter()
    dataset = Dataset(folder)
    opened = time.perf_counter()
    table = training_table(dataset)
    plan = next(iter(strategy_of(name, dataset, table).plan(table, batch_size=BATCH, seed=0, epoch=0)))
    planned = time.perf_counter()
    status = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1e6
    print(
        f"{name:16s} opened in {opened - begin:5.2f} s, first batch of {len(plan)} after {planned - opened:5.2f} s, "
        f"{peak:.2f} GB"
    )


def main() -> None:
    if len(sys.argv) == 3:
        first_batch(*sys.argv[1:])
        return
    with tempfile.TemporaryDirectory() as folder:
        synthetic(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
        for name in STRATEGIES:
            subprocess.run([sys.executable, "-m", "tests.bench.index_scale", folder, name], check=True)


if __name__ == "__main__":
    main()
