"""Pairs a second of an update in each way, as a share of what the card reaches with one large product of matrices."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.gpu.bench import Bench
from tests.gpu.rows import FAIL, MEASURED, PASS, Row, measured
from tests.gpu.step import CHANNELS_LAST, CONTIGUOUS, Way, update_of

WAYS = [
    Way(precision="fp32"),
    Way(),
    Way(benchmark=False),
    Way(layout=CONTIGUOUS),
    Way(layout=CHANNELS_LAST),
    Way(layout=CHANNELS_LAST, compile=True),
]
"""compiling comes last: it takes a minute"""
LEAST_SHARE, PRODUCTS = 0.45, 20


def speed(bench: Bench) -> Iterator[Row]:
    """A row for the product, one for each way, one for the fastest."""
    peak = _product_rate(bench)
    yield measured("product of bf16 matrices", f"{peak / 1e12:.3g} TFLOP/s", flop_per_second=peak)
    flop = _pair_flop(bench)
    yield measured("forward and backward pass of a pair", f"{flop / 1e9:.3g} GFLOP", flop=flop)
    rates: dict[str, float] = {}
    for way in (way for way in WAYS if bench.size.compiled or not way.compile):
        try:
            rates[str(way)], row = _rate(bench, way, flop / peak)
            yield row
        except Exception as error:  # one way that this machine cannot go leaves the others
            yield Row(f"update: {way}", FAIL, f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}")
    best = max(rates, key=lambda way: rates[way])
    share = rates[best] * flop / peak
    fine = PASS if share >= LEAST_SHARE else FAIL
    value = f"{best}: {100 * share:.0f} % of the product's rate"
    bound = f">= {100 * LEAST_SHARE:.0f} %" if bench.cuda else ""
    yield Row("fastest update", fine if bench.cuda else MEASURED, value, bound, {"share": share})


def _product_rate(bench: Bench) -> float:
    """Operations a second of a product of two large bf16 matrices."""
    length = bench.size.product
    one, other = (torch.randn(length, length, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        torch.mm(one, other)
    with bench.timed() as seconds:
        for _ in range(PRODUCTS):
            torch.mm(one, other)
    return PRODUCTS * 2 * length**3 / seconds[0]


def _pair_flop(bench: Bench) -> float:
    """Operations of a pair's forward and backward pass, as torch counts them."""
    update = update_of(bench, Way(precision="fp32"), 2)
    with FlopCounterMode(display=False) as counter:
        update()
    return counter.get_total_flops() / 2


def _rate(bench: Bench, way: Way, seconds_of_pair: float) -> tuple[float, Row]:
    """Pairs a second, and the row; the batch is halved until it fits."""
    while True:
        bench.clean()
        try:
            seconds = _seconds(bench, way)
            break
        except torch.cuda.OutOfMemoryError:
            if bench.batch_size < 32:
                raise
            bench.batch_size //= 2
    rate = bench.batch_size / seconds
    share = rate * seconds_of_pair
    value = f"{rate:,.0f} pairs/s, {100 * share:.0f} %, batch {bench.batch_size}{bench.memory()}"
    numbers = {"pairs_per_second": rate, "share": share, "batch_size": bench.batch_size, "bytes": bench.memory_bytes()}
    return rate, measured(f"update: {way}", value, **numbers)


def _seconds(bench: Bench, way: Way) -> float:
    """Seconds of an update."""
    before = torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.benchmark = way.benchmark
        update = update_of(bench, way, bench.batch_size)
        for _ in range(bench.size.warm):
            update()
        with bench.timed() as seconds:
            for _ in range(bench.size.updates):
                update()
        return seconds[0] / bench.size.updates
    finally:
        torch.backends.cudnn.benchmark = before
        if way.compile:
            torch.compiler.reset()
