"""An update with the loader over one with a resident batch: what reading and copying cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from avtrain.data import encoded
from avtrain.data.loader import Loader
from tests.bench.resident import Resident, seconds
from tests.gpu.bench import Bench
from tests.gpu.rows import FAIL, MEASURED, PASS, Row

MOST = 1.02


def loading(bench: Bench) -> Iterator[Row]:
    """A row for raw pictures and two for jpegs, by either decoder; each round has both loaders in turns."""
    for codec, data in (("raw", bench.raw), ("jpeg", bench.jpeg)):
        yield _ratio(bench, codec, data)
    with patch.object(encoded, "DECODES_ON", ("cuda", "cpu")):
        yield replace(
            _ratio(bench, "jpeg, decoder device", bench.jpeg, jpeg_decoder="device"), state=MEASURED, bound=""
        )


def _ratio(bench: Bench, codec: str, data: Path, **settings: object) -> Row:
    updates = bench.size.warm + bench.size.updates
    config = bench.config(batch_size=bench.batch_size, max_steps=updates, checkpoint_every_steps=updates, **settings)
    taken: dict[type[Loader], float] = {}
    for number in range(2 if bench.cuda else 1):
        for kind in (Loader, Resident) if number else (Resident, Loader):
            own = replace(config, epochs=updates)
            each = seconds(kind, data, own, bench.size.warm, bench.device, bench.threads)
            taken[kind] = min(each, taken.get(kind, each))
    with_loader, resident = taken[Loader], taken[Resident]
    ratio = with_loader / resident
    state = (PASS if ratio <= MOST else FAIL) if bench.cuda else MEASURED
    value = f"{ratio:.3f} ({1e3 * with_loader:.1f} over {1e3 * resident:.1f} ms, batch {bench.batch_size})"
    numbers = {"ratio": ratio, "seconds": with_loader, "resident_seconds": resident}
    return Row(f"update with the loader over a resident batch, {codec}", state, value, f"<= {MOST}", numbers)
