"""One cell of av-digits: a row in one run, trained, measured, and kept in its folder as soon as each part is done."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avprep.dataset import Dataset
from avprep.shared import configs
from avtrain.config import EvaluateConfig, PlanConfig, PretrainConfig
from avtrain.reproduce import grid
from avtrain.reproduce.av_digits.data import FROZEN, Sounds
from avtrain.reproduce.av_digits.rows import Row

if TYPE_CHECKING:
    from avtrain.reproduce.av_digits.settings import DigitsSettings

STATISTICS = {
    128: "avtrain.reproduce.av_digits.statistics:log_mel_statistics",
    32: "avtrain.reproduce.av_digits.statistics:log_mel_statistics_32",
}
RESULT = "result.json"
WINDOWS = " windows"
FINETUNE_WINDOWS = 1
OUTSIDE = "esc10 "
FINETUNED_OUTSIDE = 3
"""runs finetuned on ESC-10 as well; more would take a sixth of the whole table's time"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one process needs to fill one cell."""

    row: Row
    run: int
    digits: Path
    sounds: Sounds | None
    folder: Path
    settings: DigitsSettings

    @property
    def seed(self) -> int:
        """Of everything that is drawn in this cell."""
        return self.settings.seed_of(self.run)

    @property
    def strategy(self) -> str:
        """As `avtrain pretrain` takes it."""
        return f"pairs:{self.digits.parent / FROZEN}" if self.row.strategy == "frozen" else self.row.strategy


def run_cell(cell: Cell) -> dict[str, Any]:
    """The result of a cell, which is also folder/cell.json.

    `scores`: accuracies by column; `updates`, and `same_class_negatives` an anchor, for what was pretrained.
    """

    def is_whole(result: dict[str, Any]) -> bool:
        return cell.sounds is None or any(column.startswith(OUTSIDE) for column in result["scores"])

    key = {"row": configs.to_dict(cell.row)}
    return grid.result_of(cell.folder / "cell.json", key, lambda: _made(cell), is_whole, configs.to_dict(Row(name="")))


def _made(cell: Cell) -> dict[str, Any]:
    """Train and measure a cell in this process."""
    row = cell.row
    result: dict[str, Any] = {
        "name": row.name,
        "link": row.link,
        "run": cell.run,
        "row": configs.to_dict(row),
        "updates": 0,
        "batch_size": None,
        "same_class_negatives": None,
    }
    if row.kind == "pretrained":
        result |= _pretrained(cell)
    scores = _scores(cell, "", cell.digits, finetuned=row.finetuned and not cell.settings.choosing)
    if cell.sounds is not None:
        scores |= _scores(cell, OUTSIDE, cell.sounds.whole, finetuned=cell.run < FINETUNED_OUTSIDE)
        scores |= _scores(cell, OUTSIDE + "cut ", cell.sounds.cut, finetuned=False)
    if row.kind == "pretrained":
        scores |= _retrieved(cell)
    return {**result, "scores": scores}


def _pretrained(cell: Cell) -> dict[str, Any]:
    """Make the updates that every row makes; returns what the table has on the batches."""
    from avtrain.data.plan_survey import survey
    from avtrain.data.plans import steps_of, strategy_of, training_table
    from avtrain.training.pretrain import pretrain

    row, settings = cell.row, cell.settings
    batch = settings.batch_of(row)
    dataset = Dataset(cell.digits)
    table = training_table(dataset, row.labels)
    steps = steps_of(strategy_of(cell.strategy, dataset, table), table, batch)
    updates = settings.updates_of(row)
    epochs = -(-updates // steps)
    ended = pretrain(
        cell.digits,
        cell.folder,
        PretrainConfig(
            strategy=cell.strategy,
            labels=row.labels,
            loss=row.loss,
            model_size="tiny",
            batch_size=batch,
            epochs=epochs,
            max_steps=updates,
            learning_rate=settings.learning_rate,
            val_every=0,
            seed=cell.seed,
            checkpoint_every_steps=100,
            **row.more,
        ),
        quiet=True,
    )
    planned = survey(
        dataset, PlanConfig(strategy=cell.strategy, labels=row.labels, batch_size=batch, seed=cell.seed, epochs=epochs)
    )
    return {
        "updates": ended.steps,
        "batch_size": batch,
        "same_class_negatives": planned["same_class_negatives_per_anchor"],
    }


def _scores(cell: Cell, prefix: str, dataset: Path, finetuned: bool) -> dict[str, float]:
    """Accuracies of the row's encoder on one dataset: `linear`, and `finetune` where it trains (or supervised).

    Each of whole test clips and, as `... windows`, of the mean features of their windows.
    """
    kind, scores = cell.row.kind, dict[str, float]()
    if kind != "supervised":
        scores |= _measured(cell, prefix, dataset, "linear", "linear")
    if finetuned and kind in ("pretrained", "supervised"):
        protocol = "finetune" if kind == "pretrained" else "supervised"
        scores |= _measured(cell, prefix, dataset, protocol, "finetune")
    return scores


def _measured(cell: Cell, prefix: str, dataset: Path, protocol: str, column: str) -> dict[str, float]:
    from avtrain.evaluation.evaluate import DEFAULTS, evaluate

    out = cell.folder / "eval" / (prefix + protocol).replace(" ", "-")
    config = EvaluateConfig(
        protocol=protocol,
        model_size="tiny",
        audio_model=STATISTICS[cell.row.bands] if cell.row.kind == "statistics" else "",
        seed=cell.seed,
    )
    if protocol != "linear":
        config = dataclasses.replace(
            config,
            learning_rate=cell.settings.learning_rate,
            epochs=cell.settings.finetune_epochs,
            windows_per_clip=FINETUNE_WINDOWS,
            spec_augment=cell.row.more.get("spec_augment", False),
        )
    if protocol == "supervised":
        config = _supervised(cell, dataset, config)
    wanted = {"config": {**configs.to_dict(config), "weights": DEFAULTS["weights"]}}
    saved = grid.result_at(out / RESULT, wanted, DEFAULTS)
    run = cell.folder if cell.row.kind == "pretrained" else None
    result = saved or evaluate(dataset, config, run=run, out=out)
    return {prefix + column: float(result["accuracy"]), prefix + column + WINDOWS: float(result["windows"]["accuracy"])}


def _supervised(cell: Cell, dataset: Path, config: EvaluateConfig) -> EvaluateConfig:
    """`config` with the epochs of the row: as many updates as a finetuned row makes in all, or until it has converged.

    Either way the epoch of the least validation loss is tested.
    """
    from avtrain.data.splits import split_rows

    settings = cell.settings
    if cell.row.longer:
        return dataclasses.replace(config, epochs=settings.longer_epochs, patience=settings.longer_patience)
    split = split_rows(Dataset(dataset), how=config.split, share=config.validation_share, seed=config.seed)
    batches = -(-len(split.fit) // config.batch_size)
    return dataclasses.replace(config, epochs=config.epochs + -(-settings.updates // batches))


def _retrieved(cell: Cell) -> dict[str, float]:
    """Of the test clips' sounds and pictures, how many find their own at once, and one of their class."""
    from avtrain.evaluation.retrieval import retrieve

    out = cell.folder / "eval" / "retrieval"
    result = grid.result_at(out / RESULT, {}) or retrieve(cell.digits, cell.folder, out=out)
    return {"pair R@1": result["recall_at_1"], "class R@1": result["class_recall_at_1"]}
