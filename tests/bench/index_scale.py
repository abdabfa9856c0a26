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

from avprep.dataset import Dataset
from avtrain.data.plans import strategy_of, training_table
from avtrain.sampling import STRATEGIES
from tests.train.forge import forge_index

CLASSES, BATCH = 309, 256


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
        clips = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
        data = forge_index(Path(folder) / "data", np.arange(clips) * CLASSES // clips)
        for name in STRATEGIES:
            subprocess.run([sys.executable, "-m", "tests.bench.index_scale", str(data), name], check=True)


if __name__ == "__main__":
    main()
