"""avtrain demo: the whole path on synthetic clips, from mp4 files to a table and a report, in minutes on a CPU.

Clips are rendered twice, with the shared instance cue and without it (cue 0). On each, random and soft-positive
sampling train the tiny models for equal numbers of updates with several seeds; a linear layer measures the audio
encoders. A demo that was stopped goes on where it was when the same command runs again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.build.run import build_shards, default_workers
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.shared import configs, store
from avprep.synthetic.demo import DemoConfig, render_demo
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.evaluation.metrics import mean_interval
from avtrain.reproduce import run_grid

UNTRAINED = "untrained"
STRATEGIES = ("random", "soft-positive")
FRAME_SIZE = 48


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What the demo runs; the defaults take about 6 minutes on two cores."""

    instance_cue: float = 1.0
    """how strongly picture and sound of one clip share their instance; cue 0 runs beside it"""
    clips_per_class: int = 64
    """clips of each of the 8 classes"""
    seeds: int = 3
    """training seeds a row"""
    epochs: int = 60
    """passes over the training clips"""
    batch_size: int = 64
    """pairs in a batch"""
    learning_rate: float = 1e-3
    """of Adam, for the tiny models"""
    seed: int = 0
    """of the rendering"""

    def __post_init__(self) -> None:
        clips = self.rendering(self.instance_cue).num_training_clips
        configs.check(
            2 <= self.batch_size <= clips,
            f"batch_size must be 2 to {clips}, the training clips, not {self.batch_size}.",
        )

    def rendering(self, cue: float) -> DemoConfig:
        """The clips of one cue."""
        return DemoConfig(clips_per_class=self.clips_per_class, instance_cue=cue, seed=self.seed)

    @property
    def cues(self) -> list[float]:
        """The cues of the table, the chosen one first."""
        return [self.instance_cue] if self.instance_cue == 0 else [self.instance_cue, 0.0]


@dataclass(frozen=True)
class Cell:
    """One run of the table: a dataset, a strategy (or UNTRAINED) and a seed."""

    cue: float
    strategy: str
    seed: int
    dataset: Path
    run: Path
    settings: DemoSettings


def run_demo(
    out: Path, settings: DemoSettings, workers: int | None = None, stopping: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """Run what is not done yet; returns the table's rows, which are also out/results.json."""
    workers = workers or default_workers()
    configs.claim(out / "demo.json", configs.to_dict(settings), "demo")
    datasets = {cue: prepare(out / f"cue-{cue:g}", cue, settings, workers, stopping) for cue in settings.cues}
    cells = [
        Cell(cue, strategy, seed, datasets[cue], out / "runs" / f"cue-{cue:g}-{strategy}-s{seed}", settings)
        for seed in range(settings.seeds)
        for cue in settings.cues
        for strategy in (*STRATEGIES, UNTRAINED)
    ]
    results = list(run_grid.results_of(run_cell, cells, workers, stopping, "train and evaluate"))
    rows = [summary(results, cue, strategy) for cue in settings.cues for strategy in (*STRATEGIES[::-1], UNTRAINED)]
    store.write_json(out / "results.json", {"settings": configs.to_dict(settings), "rows": rows})
    return rows


def prepare(folder: Path, cue: float, settings: DemoSettings, workers: int, stopping: Callable[[], bool]) -> Path:
    """Render the clips of one cue and build their shards; the dataset's folder."""
    rendering = settings.rendering(cue)
    manifest = render_demo(folder / "clips", rendering, workers, stopping)
    config = BuildConfig(video=VideoSpec(frame_size=FRAME_SIZE), shards=ShardSpec(clips_per_shard=32))
    build_shards(manifest, folder / "shards", config, Limits(), workers=workers, stopping=stopping)
    return folder / "shards"


def run_cell(cell: Cell) -> dict[str, Any]:
    """The result of a cell, which is also run/eval/cell.json."""
    key: dict[str, Any] = {"cue": cell.cue, "strategy": cell.strategy, "seed": cell.seed}
    return run_grid.result_of(cell.run / "eval" / "cell.json", key, lambda: key | _scores(cell))


def _scores(cell: Cell) -> dict[str, Any]:
    """Pretrain and evaluate a cell in this process: its updates, accuracy and retrieval."""
    from avtrain.evaluation.evaluate import evaluate
    from avtrain.evaluation.retrieval import retrieve
    from avtrain.training.pretrain import pretrain

    settings, trained = cell.settings, cell.strategy != UNTRAINED
    result: dict[str, Any] = {"updates": 0}
    if trained:
        config = PretrainConfig(
            strategy=cell.strategy,
            model_size="tiny",
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            seed=cell.seed,
            checkpoint_every_steps=100,
        )
        ended = pretrain(cell.dataset, cell.run, config, quiet=True)
        result |= {"updates": ended.steps, "loss": ended.last_loss}
        result["retrieval"] = retrieve(cell.dataset, cell.run)
    measured = evaluate(
        cell.dataset,
        EvaluateConfig(model_size="tiny", seed=cell.seed),
        run=cell.run if trained else None,
        out=cell.run / "eval" / f"linear-s{cell.seed}",
    )
    return result | {name: measured[name] for name in ("accuracy", "interval_95", "test_clips")}


def summary(results: list[dict[str, Any]], cue: float, strategy: str) -> dict[str, Any]:
    """One row of the table: mean over seeds with Student's 95 % interval."""
    mine = sorted(
        (result for result in results if result["cue"] == cue and result["strategy"] == strategy),
        key=lambda result: result["seed"],
    )
    accuracies = [result["accuracy"] for result in mine]
    mean, half = mean_interval(accuracies)
    row: dict[str, Any] = {
        "cue": cue,
        "strategy": strategy,
        "accuracy": mean,
        "half_width_95": None if half != half else half,
        "accuracies": accuracies,
        "updates": mine[0]["updates"],
        "test_clips": mine[0]["test_clips"],
    }
    if "retrieval" in mine[0]:
        row["recall_at_1"] = sum(result["retrieval"]["recall_at_1"] for result in mine) / len(mine)
        row["chance_at_1"] = mine[0]["retrieval"]["chance_at_1"]
    return row


def printed(rows: list[dict[str, Any]]) -> str:
    """The table as text."""
    lines = [f"{'cue':>4}  {'sampling':<14} {'updates':>7}  {'linear accuracy, %':<22} {'exact-pair R@1, %':<18} seeds"]
    for row in rows:
        lines.append(
            f"{row['cue']:>4g}  {row['strategy']:<14} {row['updates']:>7}  "
            f"{accuracy_text(row):<22} {recall_text(row):<18} "
            + " ".join(f"{100 * value:.1f}" for value in row["accuracies"])
        )
    return "\n".join(lines)


def accuracy_text(row: dict[str, Any]) -> str:
    """Mean and half-width in per cent."""
    half = "" if row["half_width_95"] is None else f" ± {100 * row['half_width_95']:.1f}"
    return f"{100 * row['accuracy']:.1f}{half}"


def recall_text(row: dict[str, Any]) -> str:
    """Recall at 1 in per cent beside chance, '' for a row without."""
    return "" if "recall_at_1" not in row else f"{100 * row['recall_at_1']:.1f} (chance {100 * row['chance_at_1']:.1f})"
