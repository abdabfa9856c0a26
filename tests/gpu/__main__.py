"""The table of a card.

    python -m tests.gpu [--folder FOLDER] [--out FILE] [--device cuda] [--size full|toy] [--only CHECK]

Exit status 1 where a row fails. See docs/pages/guides/gpu.md for what the rows mean.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch

from tests.gpu.bench import Bench
from tests.gpu.rows import FAIL
from tests.gpu.sizes import SIZES
from tests.gpu.table import CHECKS, line_of, machine, rows_of, write


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description="What a GPU does with all of avtrain.")
    parser.add_argument("--folder", type=Path, help="keeps the datasets of noise for another time (4 GB)")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="JSON file (default: gpu.json)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--size", choices=SIZES, help="default: full on a card, toy on a CPU")
    parser.add_argument("--only", choices=CHECKS, action="append", help="this check; may be given again")
    parser.add_argument("--seconds", type=float, default=420, help="no check begins after so long (default: 420)")
    given = parser.parse_args()
    cuda = given.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        print("This machine has no CUDA device; --device cpu tries all of it at toy size.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        size = SIZES[given.size or ("full" if cuda else "toy")]
        threads = min(len(os.sched_getaffinity(0)), 16)
        bench = Bench(device=given.device, size=size, folder=folder, threads=threads)
        about = machine(bench)
        print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
        rows = rows_of(
            bench, given.only or list(CHECKS), given.seconds, lambda name, row: print(line_of(name, row), flush=True)
        )
    write(given.out, about, rows)
    failed = [row["what"] for row in rows if row["state"] == FAIL]
    print(f"{len(rows)} rows, {len(failed)} failed; all numbers are in {given.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
