"""One cell of av-digits: a row in one run, trained, measured, and kept in its folder as soon as each part is done."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.config import EvaluateConfig, PlanConfig, PretrainConfig
from avtrain.reproduce.av_digits.data import FROZEN, Sounds
from avtrain.reproduce.av_digits.rows import Row

if TYPE_CHECKING:
    from avtrain.reproduce.av_digits.settings import DigitsSettings

STATISTICS = {
    128: "avtrain.reproduce.av_digits.statistics:log_mel_statistics",
    32: "avtrain.reproduce.av_digits.statistics:log_mel_statistics_32",
}
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
    def strategy(self) -> str:
        """As `avtrain pretrain` takes it."""
        return f"pairs:{self.digits.parent / FROZEN}" if self.row.strategy == "frozen" else self.row.strategy


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train and measure a cell in this process, on one thread; the result is also folder/cell.json.

    `scores`: accuracies by column; `updates`, and `same_class_negatives` an anchor, for what was pretrained.
    """
    import torch

    kept = cell.folder / "cell.json"
    if kept.exists():
        done = store.read_json(kept)
        _check_same(kept, done["row"], configs.to_dict(cell.row))
        if cell.sounds is None or any(column.startswith(OUTSIDE) for column in done["scores"]):
            return done
    torch.set_num_threads(1)
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
    scores = _scores(cell, "", cell.digits, finetuned=True)
    if cell.sounds is not None:
        scores |= _scores(cell, OUTSIDE, cell.sounds.whole, finetuned=cell.run < FINETUNED_OUTSIDE)
        scores |= _scores(cell, OUTSIDE + "cut ", cell.sounds.cut, finetuned=False)
    if row.kind == "pretrained":
        scores |= _retrieved(cell)
    store.write_json(kept, {**result, "scores": scores})
    return {**result, "scores": scores}


def _check_same(path: Path, kept: dict[str, Any], wanted: dict[str, Any]) -> None:
    """UserError where a file of the cell was made by other settings, such as those of an earlier version's row."""
    if configs.digest(kept) != configs.digest(wanted):
        other = [f"{key}: {kept.get(key)!r} -> {value!r}" for key, value in wanted.items() if kept.get(key) != value]
        raise UserError(
            f"{path} was made by other settings ({'; '.join(other) or 'with more of them'}); remove the folder of the "
            "cell in runs/, and it is made again."
        )


def _pretrained(cell: Cell) -> dict[str, Any]:
    """Make the updates that every row makes; what the table says of the batches."""
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
            seed=cell.run,
            checkpoint_every_steps=100,
        ),
        quiet=True,
    )
    planned = survey(
        dataset, PlanConfig(strategy=cell.strategy, labels=row.labels, batch_size=batch, seed=cell.run, epochs=epochs)
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
    kind, found = cell.row.kind, dict[str, float]()
    if kind != "supervised":
        found |= _measured(cell, prefix, dataset, "linear", "linear")
    if finetuned and kind in ("pretrained", "supervised"):
        protocol = "finetune" if kind == "pretrained" else "supervised"
        found |= _measured(cell, prefix, dataset, protocol, "finetune")
    return found


def _measured(cell: Cell, prefix: str, dataset: Path, protocol: str, column: str) -> dict[str, float]:
    from avtrain.evaluation.evaluate import evaluate

    out = cell.folder / "eval" / (prefix + protocol).replace(" ", "-")
    config = EvaluateConfig(
        protocol=protocol,
        model_size="tiny",
        audio_model=STATISTICS[cell.row.bands] if cell.row.kind == "statistics" else "",
        seed=cell.run,
    )
    if protocol != "linear":
        config = dataclasses.replace(
            config,
            learning_rate=cell.settings.learning_rate,
            epochs=cell.settings.finetune_epochs,
            windows_per_clip=FINETUNE_WINDOWS,
        )
    if protocol == "supervised":
        config = _supervised(cell, dataset, config)
    kept = out / "result.json"
    if not kept.exists():
        evaluate(dataset, config, run=cell.folder if cell.row.kind == "pretrained" else None, out=out)
    found = store.read_json(kept)
    _check_same(kept, found["config"], configs.to_dict(config))
    return {prefix + column: float(found["accuracy"]), prefix + column + WINDOWS: float(found["windows"]["accuracy"])}


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
    if not (out / "result.json").exists():
        retrieve(cell.digits, cell.folder, out=out)
    found = store.read_json(out / "result.json")
    return {"pair R@1": found["recall_at_1"], "class R@1": found["class_recall_at_1"]}
