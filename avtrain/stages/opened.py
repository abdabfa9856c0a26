"""A run as a stage reads it: a checkpoint that fits the dataset, and the labels that the run knew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset, LabelColumn, check_single
from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.config import PretrainConfig, StageConfig
from avtrain.data.plans import PAIRS_PREFIX, strategy_of, table_of
from avtrain.data.splits import set_aside
from avtrain.runs.data_spec import DATA, DATASETS, names_of
from avtrain.runs.load import checkpoint_of, identity_of, weights_of

SPLIT = "train"
"""the split whose clips stages look at"""
NEWER = {"segments": 0, "per_group": False, "other_groups": False, "inverse_penalty": 1.0}
"""settings that older columns and pairs do not record, and what they went by"""


@dataclass(frozen=True)
class Opened:
    """A checkpoint to take features of: its folder, meta.json, which weights, and what a stage records of it."""

    folder: Path
    meta: dict[str, Any]
    weights: str
    identity: dict[str, Any]

    def setting(self, name: str) -> Any:
        """A setting of PretrainConfig that the run was trained with; its default where the run does not know it."""
        return self.meta["config"].get(name, getattr(PretrainConfig, name))


def open_run(dataset: Dataset, run: Path, config: StageConfig) -> Opened:
    """The checkpoint of a run that `config` chooses. Errors: UserError, also where it was trained on other clips."""
    folder, meta = checkpoint_of(run, config.checkpoint)
    several = meta.get(DATA, {}).get(DATASETS)
    if several:
        raise UserError(
            f"{folder} was trained on several datasets, {names_of(several)}, and a stage takes a run on one; join them "
            "with 'avprep merge' and train on that, or name a run on this dataset."
        )
    if meta.get("dataset_digest", dataset.digest) != dataset.digest:
        raise UserError(
            f"{folder} was trained on another dataset than {dataset.folder}, or before clips were added to it or "
            "excluded; name the dataset of the run, or train a run on this one."
        )
    weights = weights_of(folder, meta, config.weights)
    return Opened(folder, meta, weights, identity_of(folder, meta, weights))


def opened_for(dataset: Dataset, run: Path | None, config: StageConfig) -> Opened | None:
    """`open_run`; None where `config` goes by the log-mel, which needs no run. Errors: UserError, also for too many."""
    if config.by == "log-mel":
        if run is not None:
            raise UserError(f"--by log-mel goes by the sounds alone; leave out --run {run}, or choose another --by.")
        return None
    if run is None:
        raise UserError(f"--by {config.by} goes by a run's features; name one by --run, or choose --by log-mel.")
    return open_run(dataset, run, config)


def record_of(opened: Opened | None) -> dict[str, Any]:
    """What a stage records of the run that it goes by, if any."""
    return {} if opened is None else {**opened.identity, "weights": opened.weights}


def settings_of(config: StageConfig) -> dict[str, Any]:
    """What a stage records of its settings: of those in NEWER the ones that are others than it has there."""
    settings = configs.to_dict(config)
    return {name: value for name, value in settings.items() if name not in NEWER or value != NEWER[name]}


def known_labels(dataset: Dataset, opened: Opened | None, labels: str = "") -> tuple[str, LabelColumn]:
    """(name, column) of the label column `labels`; empty: the one that the run was trained with, without a run `label`.

    Of the run's own column, clips whose label its strategy withheld (such as soft-positive:labelled=0.25) have none.
    Errors: UserError, also where the column is multi-label.
    """
    own = "label" if opened is None else str(opened.setting("labels"))
    name = labels or own
    column = dataset.labels(name)
    check_single(column, name, "This stage")
    if opened is None:
        return name, column
    strategy = str(opened.setting("strategy"))
    if name != own or strategy.startswith(PAIRS_PREFIX):
        return name, column
    seed, share = int(opened.setting("seed")), float(opened.setting("val_share"))
    whole = table_of(dataset.rows_of(SPLIT), column)
    parts = [part for part in set_aside(dataset, whole, name, share, seed) if len(part)]
    values = column.values.copy()
    values[whole.rows] = -1
    for part in parts:
        values[part.rows] = strategy_of(strategy, dataset, part).known_labels(part, seed)
    return name, LabelColumn(values, column.class_names)
