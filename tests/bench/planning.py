"""Processor seconds of planning (one thread) from 10^4 to 10^7 clips: the first batch of all, and a whole later epoch.

    python -m tests.bench.planning [LARGEST_EXPONENT]

309 labels, the largest with 17 times the clips of the smallest; batch 256; pairs with weights drawn exponentially. The
memory is the process's peak so far, all tables and plans included. Each figure is the median of three, an epoch's the
mean of as many as plan a million clips. The last column is the growth against linear: microseconds a clip, divided by
those of the smallest size.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import sys
import time

import numpy as np

from avtrain.sampling import STRATEGIES, ClipTable, Pairs, Strategy, parse_strategy

LABELS, BATCH, ROUNDS, CLIPS = 309, 256, 3, 10**6


def table_of(clips: int) -> ClipTable:
    """`clips` rows whose labels are drawn by 1 / sqrt(rank)."""
    weights = 1 / np.sqrt(np.arange(1, LABELS + 1))
    labels = np.random.default_rng(0).choice(LABELS, clips, p=weights / weights.sum()).astype(np.int32)
    return ClipTable(np.arange(clips), labels)


def strategies(table: ClipTable) -> dict[str, Strategy]:
    pairs = Pairs(table.rows, table.rows[::-1].copy())
    weighted = dataclasses.replace(pairs, weights=np.random.default_rng(1).exponential(size=len(table)))
    return {name: parse_strategy(name) for name in STRATEGIES} | {"pairs": pairs, "pairs, weighted": weighted}


def seconds(strategy: Strategy, table: ClipTable) -> tuple[float, float]:
    """(to the first batch of a table not seen before, of a whole epoch of it afterwards)."""
    fresh, table = dataclasses.replace(strategy), ClipTable(table.rows, table.labels)  # type: ignore[type-var]
    epochs = max(1, CLIPS // len(table))
    begin = time.process_time()
    next(fresh.plan(table, batch_size=BATCH, seed=0, epoch=0))
    first = time.process_time()
    for epoch in range(1, epochs + 1):
        for _ in fresh.plan(table, batch_size=BATCH, seed=0, epoch=epoch):
            pass
    return first - begin, (time.process_time() - first) / epochs


if __name__ == "__main__":
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    heads = f"{'first batch, s':>14}  {'epoch, s':>8}  {'us a clip':>9}  {'growth':>6}  peak GB"
    print(f"{'clips':>10}  {'strategy':<15}  {heads}")
    smallest: dict[str, float] = {}
    for exponent in range(4, largest + 1):
        table = table_of(10**exponent)
        for name, strategy in strategies(table).items():
            taken = [seconds(strategy, table) for _ in range(ROUNDS)]
            first, epoch = (statistics.median(values) for values in zip(*taken, strict=True))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            each = 1e6 * epoch / len(table)
            growth = each / smallest.setdefault(name, each)
            figures = f"{first:>14.3f}  {epoch:>8.3f}  {each:>9.3f}  {growth:>6.2f}  {peak:>7.2f}"
            print(f"{len(table):>10,}  {name:<15}  {figures}", flush=True)
