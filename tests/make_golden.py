"""Writes tests/golden/, and is its only writer: `python -m tests.make_golden`. A refactor changes none of it.

plans.json: the first batches of every strategy over small tables, the sha256 of whole epochs at the paper's sizes, and
the first windows. They are compared bit for bit; a change means that runs cannot be repeated any more.
curves.json: the losses of twenty updates of a tiny model by every strategy and loss, compared at 1e-5.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avprep.shared import store
from avtrain.sampling import ClipTable, Pairs, Strategy, parse_strategy
from avtrain.sampling.windows import WindowSpec, draw_windows
from tests.conftest import REPOSITORY
from tests.train import tables
from tests.train.curves import curves

GOLDEN = REPOSITORY / "tests" / "golden"
SMALL = {
    "balanced": tables.BALANCED,
    "unbalanced": tables.UNBALANCED,
    "mixed": tables.MIXED,
    "singletons": tables.SINGLETONS,
}
SEED, EPOCH, BATCH, BATCHES = 11, 2, 4, 2
PAPER = {
    "random": 309,
    "easy-negative": 200,
    "hard-negative": 123,
    "soft-positive": 309,
    "soft-positive:p=0.5": 309,
    "soft-positive:labelled=0.1": 309,
    "class-balanced": 309,
}


def plans() -> dict[str, Any]:
    """What plans.json holds, made by the code as it is."""
    return {
        "numpy": np.__version__,
        "first_batches": {
            f"{_name(strategy)} {name}": [
                " ".join(f"{audio}:{video}" for audio, video in plan)
                for plan in tables.plans_of(strategy, table, BATCH, SEED, EPOCH)[:BATCHES]
            ]
            for name, table in ((name, tables.table_of(labels)) for name, labels in SMALL.items())
            for strategy in tables.all_strategies(table)
            if tables.serves(strategy, table, BATCH)
        },
        "epochs": {
            f"{text} {name}": _digest(text, table, batch)
            for name, table in (("38,007 balanced", _balanced()), ("210,000 unbalanced", _unbalanced()))
            for text, batch in PAPER.items()
        },
        "windows": _windows(),
    }


def _name(strategy: Strategy) -> str:
    """Its repr, without a setting that came later and is at its default; given pairs by their kind alone."""
    if isinstance(strategy, Pairs):
        return "Pairs()" if strategy.pair_weights is None else "Pairs(weights)"
    return repr(strategy).replace(", rare=0.0", "").replace(", others='exact'", "")


def _balanced() -> ClipTable:
    return ClipTable(np.arange(38_007), np.repeat(np.arange(309, dtype=np.int32), 123))


def _unbalanced() -> ClipTable:
    """309 labels of 1, 5, 9 ... clips, and the rest of 210,000 clips in the last."""
    sizes = 1 + 4 * np.arange(309)
    sizes[-1] += 210_000 - sizes.sum()
    return ClipTable(np.arange(210_000), np.repeat(np.arange(309, dtype=np.int32), sizes))


def _digest(text: str, table: ClipTable, batch: int) -> str:
    found = hashlib.sha256()
    for plan in parse_strategy(text).plan(table, batch_size=batch, seed=SEED, epoch=EPOCH):
        found.update(plan.astype("<i8").tobytes())
    return found.hexdigest()


def _windows() -> dict[str, list[int]]:
    plan = np.stack([np.arange(8), [0, 1, 2, 3, 5, 6, 7, 4]], axis=1)
    num_frames = np.array([160, 160, 20, 9, 160, 16, 80, 400])
    drawn = draw_windows(plan, num_frames, WindowSpec(), seed=SEED, epoch=EPOCH, step=3)
    return {name: getattr(drawn, name).tolist() for name in ("frame", "mel_frame", "flip")}


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    store.write_json(GOLDEN / "plans.json", plans())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        store.write_json(GOLDEN / "curves.json", {"torch": torch.__version__, "losses": curves(Path(name))})
    print(json.dumps(sorted(path.name for path in GOLDEN.iterdir())))
