"""GradCache at a batch that no card encodes at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

from avtrain.runs import folder as run_folder
from avtrain.training.pretrain import pretrain
from tests.gpu.bench import Bench
from tests.gpu.rows import Row, holds

STEPS = 3


def chunks(bench: Bench) -> Iterator[Row]:
    """One row: updates of a large batch in chunks, their speed and memory; the first loss is about ln(batch)."""
    batch, chunk = bench.size.chunked_batch, min(bench.size.chunk_size, bench.batch_size)
    run = bench.fresh("chunked")
    config = bench.config(batch_size=batch, chunk_size=chunk, max_steps=STEPS, epochs=STEPS)
    bench.clean()
    pretrain(bench.raw, run, config, device=bench.device, read_threads=bench.threads, quiet=True)
    lines = run_folder.read_metrics(run)
    rate = batch * (STEPS - 1) / (lines[-1]["seconds"] - lines[0]["seconds"])
    fine = all(math.isfinite(line["loss"]) for line in lines) and abs(lines[0]["loss"] - math.log(batch)) < 1
    value = f"{rate:,.0f} pairs/s, first loss {lines[0]['loss']:.2f}{bench.memory()}"
    numbers = {"pairs_per_second": rate, "loss": lines[0]["loss"], "bytes": bench.memory_bytes()}
    yield holds(f"GradCache, batch {batch} in chunks of {chunk}", fine, value, **numbers)
