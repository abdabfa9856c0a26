"""All checks, one after the other, as a table and a JSON file."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torchvision

from avprep.shared import __version__
from tests.gpu.bench import Bench
from tests.gpu.chunks import chunks
from tests.gpu.copies import copies
from tests.gpu.downstream import downstream, exported
from tests.gpu.equal import equal
from tests.gpu.jpegs import jpegs
from tests.gpu.loading import loading
from tests.gpu.parity import parity
from tests.gpu.ranks import ranks
from tests.gpu.rows import FAIL, LEFT_OUT, Row
from tests.gpu.speed import speed

CHECKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "parity": parity,
    "copies": copies,
    "equal": equal,
    "speed": speed,
    "loading": loading,
    "jpegs": jpegs,
    "downstream": downstream,
    "ranks": ranks,
    "export": exported,
    "chunks": chunks,
}
Reported = Callable[[str, Row], None]


def rows_of(bench: Bench, names: Sequence[str], most_seconds: float, report: Reported) -> list[dict[str, Any]]:
    """The rows of the checks of these names, each reported as it comes; none begins after `most_seconds`.

    A check that fails has a row of its own with the reason, and the others go on.
    """
    begin = time.monotonic()
    rows: list[dict[str, Any]] = []
    for name in names:
        last = time.monotonic()
        try:
            if last - begin > most_seconds:
                made: Iterator[Row] = iter([Row(name, LEFT_OUT, f"{most_seconds:.0f} s are over; --only {name}")])
            else:
                bench.clean()
                made = CHECKS[name](bench)
            for row in made:
                now = time.monotonic()
                report(name, row)
                rows.append({"check": name, **asdict(row), "wall_seconds": round(now - last, 3)})
                last = now
        except Exception as error:
            line = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            row = Row(name, FAIL, line)
            report(name, row)
            wall = round(time.monotonic() - last, 3)
            rows.append(
                {
                    "check": name,
                    **asdict(replace(row, numbers={"traceback": traceback.format_exc()})),
                    "wall_seconds": wall,
                }
            )
    return rows


def machine(bench: Bench) -> dict[str, Any]:
    """What the rows were made on."""
    about = {
        "avtrain": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "threads": bench.threads,
        "device": bench.device,
    }
    if bench.cuda:
        card = torch.cuda.get_device_properties(bench.device)
        about |= {"card": card.name, "bytes": card.total_memory, "cards": torch.cuda.device_count()}
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        about |= {"cudnn_tf32": torch.backends.cudnn.allow_tf32, "matmul_tf32": torch.backends.cuda.matmul.allow_tf32}
    return about


def write(path: Path, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The JSON file."""
    path.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def line_of(name: str, row: Row) -> str:
    """A row of the table."""
    return f"{row.state:9} | {name:10} | {row.what:58} | {row.value}" + (f"  [{row.bound}]" if row.bound else "")
