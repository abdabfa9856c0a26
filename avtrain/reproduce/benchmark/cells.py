"""One cell of a benchmark: a row in one run, trained, measured, and kept in its folder as soon as each part is done."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avprep.shared import configs
from avtrain.config import EvaluateConfig, PlanConfig, PretrainConfig
from avtrain.reproduce import run_grid
from avtrain.reproduce.av_digits.rows import Row

STATISTICS = {
    128: "avtrain.reproduce.av_digits.statistics:log_mel_statistics",
    32: "avtrain.reproduce.av_digits.statistics:log_mel_statistics_32",
}
RESULT = "result.json"
WINDOWS = " windows"
PAPERS_SECONDS, PICTURES_A_SECOND = 1, 8  # of a window of sound, and the pictures that go with each second of it


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much one row trains, and on which windows."""

    updates: int
    """of pretraining"""
    supervised_updates: int
    """that a supervised row makes beside the epochs of finetuning"""
    batch_size: int
    learning_rate: float
    finetune_epochs: int
    longer_epochs: int
    longer_patience: int
    finetuned: bool = True
    """whether pretrained rows are finetuned, and supervised ones trained, on the cell's own clips"""
    finetune_windows: int = 1
    """of each clip by which the epoch of finetuned rows is chosen"""
    window_seconds: int = PAPERS_SECONDS
    """of sound; pictures of half that time go with it"""

    @property
    def windows(self) -> dict[str, Any]:
        """Settings of PretrainConfig; none for the paper's windows."""
        if self.window_seconds == PAPERS_SECONDS:
            return {}
        return {
            "window_frames": PICTURES_A_SECOND * self.window_seconds,
            "audio_seconds": float(self.window_seconds),
        }


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A dataset of other classes on which a cell's encoder is measured as well."""

    prefix: str
    """of its columns"""
    dataset: Path
    finetuned: bool
    """whether the encoder is finetuned there, beside the linear layer"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one process needs to fill one cell."""

    row: Row
    run: int
    seed: int
    """of all that is drawn"""
    dataset: Path
    labels: str
    """the label column of the row in this run"""
    frozen: Path
    """pairs of the rows with the strategy `frozen`"""
    outside: tuple[Outside, ...] = ()
    folder: Path
    amounts: Amounts

    @property
    def strategy(self) -> str:
        """As `avtrain pretrain` takes it."""
        return f"pairs:{self.frozen}" if self.row.strategy == "frozen" else self.row.strategy


def run_cell(cell: Cell) -> dict[str, Any]:
    """The result of a cell, which is also folder/cell.json.

    `scores`: accuracies by column; `updates`, and `same_class_negatives` an anchor, for what was pretrained.
    """

    def is_whole(result: dict[str, Any]) -> bool:
        wanted = [one for one in cell.outside if one.finetuned or cell.row.kind != "supervised"]
        return all(any(column.startswith(one.prefix) for column in result["scores"]) for one in wanted)

    key = {"row": configs.to_dict(cell.row)}
    return run_grid.result_of(
        cell.folder / "cell.json", key, lambda: _made(cell), is_whole, configs.to_dict(Row(name=""))
    )


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
    scores = _scores(cell, "", cell.dataset, finetuned=row.finetuned and cell.amounts.finetuned)
    for one in cell.outside:
        scores |= _scores(cell, one.prefix, one.dataset, one.finetuned)
    if row.kind == "pretrained":
        scores |= _retrieved(cell)
    return {**result, "scores": scores}


def _pretrained(cell: Cell) -> dict[str, Any]:
    """Make the updates that every row makes; returns what the table has on the batches (of the first run)."""
    from avtrain.data.plan_survey import survey

    batch = cell.amounts.batch_size
    if not (cell.row.stage or cell.row.begin):
        updates, epochs = _trained(cell, cell.folder, cell.strategy, cell.labels, cell.amounts.updates)
    else:
        updates, epochs = _in_stages(cell)
    planned = survey(
        Dataset(cell.dataset),
        PlanConfig(strategy=cell.strategy, labels=cell.labels, batch_size=batch, seed=cell.seed, epochs=epochs),
    )
    return {
        "updates": updates,
        "batch_size": batch,
        "same_class_negatives": planned["same_class_negatives_per_anchor"],
    }


def _in_stages(cell: Cell) -> tuple[int, int]:
    """Train a row in stages; (updates of all its runs, epochs of the first). The last run is the cell's own."""
    from avtrain.reproduce.benchmark.stages import STAGES, parts_of

    row, whole = cell.row, cell.amounts.updates
    parts = parts_of(whole, row.first, row.rounds) if row.stage else [whole]
    earlier = (cell.folder.with_name(f"{cell.folder.name}-round-{number}") for number in range(len(parts) - 1))
    folders = [*earlier, cell.folder]
    made = [cell.folder.with_name(f"{cell.folder.name}-{number}") for number in range(len(parts))]
    strategy, labels = cell.strategy, cell.labels
    if row.begin:
        strategy, labels = STAGES[row.begin](cell.dataset, None, cell.labels, made[0])
    updates, epochs = _trained(cell, folders[0], strategy, labels, parts[0])
    for number in range(1, len(parts)):
        before = folders[number - 1]
        strategy, labels = STAGES[row.stage](cell.dataset, before, cell.labels, made[number])
        updates += _trained(cell, folders[number], strategy, labels, parts[number], before)[0]
    return updates, epochs


def _trained(
    cell: Cell, folder: Path, strategy: str, labels: str, updates: int, init_from: Path | None = None
) -> tuple[int, int]:
    """Make `updates` in the run `folder`; (updates made, epochs planned)."""
    from avtrain.data.plans import steps_of, strategy_of, training_table
    from avtrain.training.pretrain import pretrain

    row, amounts, batch = cell.row, cell.amounts, cell.amounts.batch_size
    dataset = Dataset(cell.dataset)
    table = training_table(dataset, labels)
    steps = steps_of(strategy_of(strategy, dataset, table), table, batch)
    epochs = -(-updates // steps)
    ended = pretrain(
        cell.dataset,
        folder,
        PretrainConfig(
            strategy=strategy,
            labels=labels,
            loss=row.loss,
            model_size="tiny",
            init_from="" if init_from is None else str(init_from),
            batch_size=batch,
            epochs=epochs,
            max_steps=updates,
            learning_rate=amounts.learning_rate,
            val_every=0,
            seed=cell.seed,
            checkpoint_every_steps=100,
            **row.more,
            **amounts.windows,
        ),
        quiet=True,
    )
    return ended.steps, epochs


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
        window_seconds=float(cell.amounts.window_seconds),
        seed=cell.seed,
    )
    if protocol != "linear":
        config = dataclasses.replace(
            config,
            learning_rate=cell.amounts.learning_rate,
            epochs=cell.amounts.finetune_epochs,
            windows_per_clip=cell.amounts.finetune_windows,
            spec_augment=cell.row.more.get("spec_augment", False),
        )
    if protocol == "supervised":
        config = _supervised(cell, dataset, config)
    wanted = {"config": {**configs.to_dict(config), "weights": DEFAULTS["weights"]}}
    saved = run_grid.result_at(out / RESULT, wanted, DEFAULTS)
    run = cell.folder if cell.row.kind == "pretrained" else None
    result = saved or evaluate(dataset, config, run=run, out=out)
    return {prefix + column: float(result["accuracy"]), prefix + column + WINDOWS: float(result["windows"]["accuracy"])}


def _supervised(cell: Cell, dataset: Path, config: EvaluateConfig) -> EvaluateConfig:
    """`config` with the epochs of the row: as many updates as a finetuned row makes in all, or until it has converged.

    Either way the epoch of the least validation loss is tested.
    """
    from avtrain.data.splits import split_rows

    amounts = cell.amounts
    if cell.row.longer:
        return dataclasses.replace(config, epochs=amounts.longer_epochs, patience=amounts.longer_patience)
    split = split_rows(Dataset(dataset), how=config.split, share=config.validation_share, seed=config.seed)
    batches = -(-len(split.fit) // config.batch_size)
    return dataclasses.replace(config, epochs=config.epochs + -(-amounts.supervised_updates // batches))


def _retrieved(cell: Cell) -> dict[str, float]:
    """Of the test clips' sounds and pictures, how many find their own at once, and one of their class."""
    from avtrain.evaluation.retrieval import retrieve

    out = cell.folder / "eval" / "retrieval"
    result = run_grid.result_at(out / RESULT, {}) or retrieve(cell.dataset, cell.folder, out=out)
    return {"pair R@1": result["recall_at_1"], "class R@1": result["class_recall_at_1"]}
