"""Seconds that planning takes from 10^4 to 10^7 clips: the first batch of the first epoch, and a whole later epoch.

    python -m tests.bench.planning [LARGEST_EXPONENT]

309 labels, the largest with 17 times the clips of the smallest; batch 256. The memory is the process's peak so far, all
tables and plans included. Each figure is the median of three.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time

import numpy as np

from avtrain.sampling import STRATEGIES, ClipTable, Pairs, Strategy, parse_strategy

LABELS, BATCH, ROUNDS = 309, 256, 3


def table_of(clips: int) -> ClipTable:
    """`clips` rows whose labels are drawn by 1 / sqrt(rank)."""
    weights = 1 / np.sqrt(np.arange(1, LABELS + 1))
    labels = np.random.default_rng(0).choice(LABELS, clips, p=weights / weights.sum()).astype(np.int32)
    return ClipTable(np.arange(clips), labels)


def strategies(table: ClipTable) -> dict[str, Strategy]:
    given = Pairs(table.rows, table.rows[::-1].copy(), np.ones(len(table)))
    return {name: parse_strategy(name) for name in STRATEGIES} | {"pairs, weighted": given}


def seconds(strategy: Strategy, table: ClipTable) -> tuple[float, float]:
    """(to the first batch of a table not seen before, of a whole epoch of it afterwards)."""
    fresh = ClipTable(table.rows, table.labels)
    begin = time.perf_counter()
    next(strategy.plan(fresh, batch_size=BATCH, seed=0, epoch=0))
    first = time.perf_counter()
    for _ in strategy.plan(fresh, batch_size=BATCH, seed=0, epoch=1):
        pass
    return first - begin, time.perf_counter() - first


if __name__ == "__main__":
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    print(f"{'clips':>10}  {'strategy':<15}  {'first batch, s':>14}  {'epoch, s':>8}  {'us a clip':>9}  peak GB")
    for exponent in range(4, largest + 1):
        table = table_of(10**exponent)
        for name, strategy in strategies(table).items():
            taken = [seconds(strategy, table) for _ in range(ROUNDS)]
            first, epoch = (statistics.median(values) for values in zip(*taken, strict=True))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            figures = f"{first:>14.3f}  {epoch:>8.3f}  {1e6 * epoch / len(table):>9.2f}  {peak:.2f}"
            print(f"{len(table):>10,}  {name:<15}  {figures}", flush=True)
