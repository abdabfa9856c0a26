"""The first twenty losses of a training run by every strategy and loss, for tests/golden/curves.json."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep.dataset import Dataset
from avtrain.config import LOSS_NAMES, PretrainConfig
from avtrain.runs import folder as run_folder
from avtrain.training.pretrain import pretrain
from tests.train.doubled import in_double
from tests.train.forge import Forged, forge_dataset

STEPS = 20
STRATEGIES = (
    "random",
    "easy-negative",
    "hard-negative",
    "soft-positive",
    "soft-positive:p=0.5",
    "soft-positive:labelled=0.5",
    "class-balanced",
    "pairs",
)
SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": STEPS, "max_steps": STEPS, "seed": 11}


def curves(folder: Path) -> dict[str, list[float]]:
    """The losses of twenty updates, by `STRATEGY LOSS`; datasets and runs are written below `folder`.

    Without `overlap`, which is supcon where clips have one label.
    """
    # of unequal sizes, the largest of which hard-negative needs for a whole batch
    sizes = dict(zip("abcdefgh", (12, 8, 7, 4, 3, 2, 1, 1), strict=True))
    clips = [Forged(label, seconds=1.5 + 0.1 * place) for label, size in sizes.items() for place in range(size)]
    data = forge_dataset(folder / "data", clips, frame_size=16, mel_bands=16)
    ids = np.array(Dataset(data).clip_ids)
    pq.write_table(pa.table({"audio": ids, "video": np.roll(ids, 1)}), folder / "pairs.parquet")
    return {
        f"{strategy} {loss}": _losses(data, folder, strategy, loss)
        for strategy, loss in itertools.product(STRATEGIES, (loss for loss in LOSS_NAMES if loss != "overlap"))
        if (strategy, loss) not in (("hard-negative", "mask"), ("hard-negative", "supcon"))
        and (strategy == "random" or loss not in ("suppress", "audio-supcon"))
    }


def _losses(data: Path, folder: Path, strategy: str, loss: str) -> list[float]:
    run = folder / f"{strategy} {loss}".replace(":", "-")
    name = f"pairs:{folder / 'pairs.parquet'}" if strategy == "pairs" else strategy
    with in_double():
        pretrain(data, run, PretrainConfig(**SETTINGS, strategy=name, loss=loss), quiet=True)
    return [line["loss"] for line in run_folder.read_metrics(run)]
