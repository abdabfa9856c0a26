"""Label columns and frozen pairs of a benchmark's dataset, drawn by the seed of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep.dataset import Dataset, LabelColumn
from avprep.labels.columns import claim_column, write_labels
from avprep.labels.noise import add_noise
from avprep.labels.pseudo_label import PseudoLabelConfig, pseudo_label
from avprep.shared import store
from avtrain.data.plans import training_table
from avtrain.stages import hide_labels

NOISE_SHARE = 0.3
KNOWN = {"quarter": 0.25, "half": 0.5}
"""columns in which a share of each label is known"""
CLUSTERS = 20
CLUSTERED_BY = "efficientnet-lite0"
FROZEN = "frozen.parquet"
SHUFFLE, FROZEN_PAIRS = 0x5F0F, 0xF202  # streams of random numbers; never change them


def add_columns(dataset: Dataset, columns: set[str], seed: int, suffix: str = "") -> None:
    """Write those of `columns` that are not there yet, each under its name and `suffix`; `label` needs nothing.

    `noisy`: NOISE_SHARE of the training labels are wrong; `quarter`, `half`: that share of each label is known;
    `shuffled`: add_shuffled; `clusters`: of the pictures.
    """
    for name, share in KNOWN.items():
        if name in columns:
            hide_labels(dataset.local_folder, name + suffix, share=share, seed=seed)
    if "noisy" in columns:
        add_noise(dataset, "noisy" + suffix, share=NOISE_SHARE, seed=seed)
    if "shuffled" in columns:
        add_shuffled(dataset, seed, suffix)
    if "clusters" in columns:
        config = PseudoLabelConfig(model=CLUSTERED_BY, clusters=CLUSTERS, seed=seed)
        pseudo_label(dataset, config, "clusters" + suffix)


def add_shuffled(dataset: Dataset, seed: int, suffix: str = "") -> None:
    """Write the column `shuffled`: the labels of the training clips dealt out among them at random."""
    name = "shuffled" + suffix
    origin = claim_column(dataset, name, {"command": "reproduce", "seed": seed}, replace=False)
    if origin is None:
        return
    column, rows = dataset.labels("label"), dataset.rows_of("train")
    values = column.values.copy()
    values[rows] = np.random.default_rng([seed, SHUFFLE]).permutation(values[rows])
    write_labels(dataset, name, LabelColumn(values, column.class_names), origin)


def write_frozen_pairs(dataset: Dataset, path: Path, seed: int) -> None:
    """Write pairs in which each training sound has one picture, of another clip of its class, and each picture one."""
    table = training_table(dataset)
    draw = np.random.default_rng([seed, FROZEN_PAIRS])
    audio, video = [], []
    for label in np.unique(table.labels):
        rows = draw.permutation(table.rows[table.labels == label])
        audio.append(rows)
        video.append(np.roll(rows, 1))
    ids = np.array(dataset.clip_ids, dtype=object)
    columns = {"audio": ids[np.concatenate(audio)], "video": ids[np.concatenate(video)]}
    with store.atomic_path(path) as temporary:
        pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), temporary)
