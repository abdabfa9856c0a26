"""Run folders as the report has them: read generically, so that runs of any version are shown."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.shared.errors import UserError
from avtrain.config import PROTOCOLS, EvaluateConfig, PretrainConfig
from avtrain.evaluation import predictions
from avtrain.evaluation.compare import short_names
from avtrain.evaluation.multi_predictions import MultiPredictions, read_any_predictions
from avtrain.evaluation.predictions import Predictions
from avtrain.runs import folder as run_folder
from avtrain.runs.changes import read_changes, sentence_of

NOT_A_KIND = {"seed", "log_every", "checkpoint_every_steps", "keep_checkpoints"}
MODELS = {"model_size", "audio_model"}  # of an evaluation: the run's own
BESIDE = ("protocol", "audible", "test_windows")  # of an evaluation: `protocol`, and what adds scores to the others
RETRIEVAL = "retrieval"
RESULT = "result.json"
IMPORTED = "imported"
CHANGES = "changes"


@dataclass(frozen=True)
class Evaluation:
    """One result.json; `predictions` None where there is no readable predictions.parquet beside it."""

    folder: Path
    result: dict[str, Any]
    protocol: str
    seed: int
    dataset_digest: str
    settings: dict[str, Any]
    predictions: Predictions | MultiPredictions | None

    @property
    def several_labels(self) -> bool:
        """Whether clips have any number of labels, so that the score is a mean average precision."""
        return has_several_labels(self.result)

    @property
    def score(self) -> float:
        """The accuracy, or mean average precision, as a share."""
        return float(self.result["mean_average_precision" if self.several_labels else "accuracy"])

    @property
    def dataset_name(self) -> str:
        """As in the folder's name, '' where that has none."""
        named = re.fullmatch(rf"(.+)-{re.escape(self.protocol)}-s\d+(-.+)?", self.folder.name)
        return named[1] if named else ""


@dataclass(frozen=True)
class Run:
    """One folder: a run with its evaluations, or (`config` empty) an evaluation without a run.

    A run that was imported has a config without strategy, with the name and digest of its file.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    dataset_digest: str
    metrics: list[dict[str, Any]]
    environment: dict[str, Any]
    ended: dict[str, Any]
    evaluations: list[Evaluation]
    unreadable: list[str]
    changes: list[str]
    """sentences on what was changed while it was trained"""

    @property
    def seed(self) -> int:
        """Of the training, or of the first evaluation where there was none."""
        return int(self.config["seed"] if "seed" in self.config else next((e.seed for e in self.evaluations), 0))

    @property
    def pretrained(self) -> bool:
        """Whether it was trained on pairs here."""
        return "strategy" in self.config

    @property
    def updates(self) -> int:
        """Updates in metrics.jsonl."""
        return max((int(line["step"]) + 1 for line in self.losses), default=0)

    @property
    def losses(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl that have a loss."""
        return [line for line in self.metrics if isinstance(line.get("loss"), (int, float))]

    @property
    def status(self) -> str:
        """`done`, `interrupted`, `user-error`, `failed`; `unfinished`: not ended yet, or killed; or what it is."""
        if not self.pretrained:
            return "imported" if self.config else "evaluation"
        return str(self.ended.get("status", "unfinished"))


def with_seeds(folder: Path) -> list[Path]:
    """The folder itself; the runs begun in it where it is that of several seeds; its evaluations where it is no run."""
    if (folder / run_folder.CONFIG).exists() or (folder / RESULT).exists():
        return [folder]
    runs = [
        path.parent
        for path in folder.glob(f"seed-*/{run_folder.CONFIG}")
        if run_folder.SEED.fullmatch(path.parent.name)
    ]
    if runs:
        return sorted(runs, key=lambda path: int(path.name.removeprefix("seed-")))
    return sorted(path.parent for path in folder.glob(f"eval/*/{RESULT}")) or [folder]


def read_runs(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """(the runs that the folders are or hold, why others are none). Errors: UserError, also where there is no run."""
    missing = [folder for folder in folders if not folder.exists()]
    if missing:
        raise UserError(f"{missing[0]} does not exist; give folders that 'avtrain pretrain' wrote.")
    unique = list(dict.fromkeys(run for folder in folders for run in with_seeds(folder.resolve())))
    read, skipped = [], []
    for folder, name in zip(unique, short_names(unique), strict=True):
        try:
            read.append(read_run(folder, name))
        except UserError as error:
            skipped.append(str(error))
    if not read:
        raise UserError(skipped[0])
    return read, skipped


def read_run(folder: Path, name: str) -> Run:
    """All that the folder holds. Errors: UserError where it is neither a run nor an evaluation."""
    saved = _json_or_empty(folder / run_folder.CONFIG)
    config = dict(saved.get("config", {}))
    trained = bool(config) and ("strategy" in config or IMPORTED in saved or any(folder.glob("step_*")))
    if trained and "strategy" in config:  # a setting that an earlier version did not have was at what is its default
        config = dataclasses.asdict(PretrainConfig()) | config
    if IMPORTED in saved:
        config |= {f"{IMPORTED} file": saved[IMPORTED]["file"], f"{IMPORTED} sha256": saved[IMPORTED]["sha256"][:8]}
    changes = read_changes(folder) if trained else []
    if any(not _is_longer(change, config) for change in changes):
        config |= {CHANGES: "; ".join(map(sentence_of, changes))}
    if not trained and not (folder / RESULT).is_file():
        raise UserError(f"{folder} is neither a run nor an evaluation; give folders that 'avtrain pretrain' wrote.")
    unreadable: list[str] = []
    results = sorted(folder.glob(f"eval/*/{RESULT}")) if trained else [folder / RESULT]
    measured = "ema" if config.get("ema", 0) else "raw"
    evaluations = [one for path in results if (one := _evaluation(path, trained, measured, unreadable))]
    if not trained and not evaluations:
        raise UserError(f"{folder} holds no finished evaluation; run 'avtrain evaluate' with --out {folder} again.")
    return Run(
        folder=folder,
        name=name,
        config=config if trained else {},
        dataset_digest=str(saved.get("dataset_digest", "")),
        metrics=run_folder.read_lines(folder) if trained else [],
        environment=_environment(folder),
        ended=_json_or_empty(folder / run_folder.EXIT),
        evaluations=evaluations,
        unreadable=unreadable,
        changes=[sentence_of(change) for change in changes],
    )


def _is_longer(change: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a change is of no account: a run that goes on longer at a constant rate is the one that always did."""
    return change["changed"].keys() <= {"epochs", "max_steps"} and config.get("schedule", "constant") == "constant"


def _environment(folder: Path) -> dict[str, Any]:
    """env.json, and what the newest checkpoint's meta.json has beyond configs (a commit, versions)."""
    values = _json_or_empty(folder / run_folder.ENVIRONMENT)
    metas = sorted(folder.glob("step_*/meta.json"))
    meta = _json_or_empty(metas[-1]) if metas else {}
    for name, value in meta.items():
        if name in ("versions", "environment") and isinstance(value, Mapping):
            values |= value
        elif "commit" in name:
            values[name] = value
    return values


def _json_or_empty(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _evaluation(path: Path, of_run: bool, weights: str, unreadable: list[str]) -> Evaluation | None:
    """What a result.json has; `weights` are those that are measured unless others are asked for, so no setting."""
    result = _json_or_empty(path)
    protocol = result.get("protocol") or (RETRIEVAL if "audio_to_video" in result else None)
    if protocol not in (*PROTOCOLS, RETRIEVAL) or (
        protocol != RETRIEVAL and "accuracy" not in result and not has_several_labels(result)
    ):
        unreadable.append(f"{path.parent.name}/{path.name}")
        return None
    config = dict(result.get("config", {}))
    if protocol != RETRIEVAL:  # a setting that an earlier version did not have was at what is its default now
        config = dataclasses.asdict(EvaluateConfig()) | {"weights": weights} | config
    if config.get("weights") == weights:
        del config["weights"]
    seed = int(config.pop("seed", 0))
    for name in (*BESIDE, *(MODELS if of_run else ())):
        config.pop(name, None)
    predicted = None
    if (path.parent / predictions.FILE).exists():
        try:
            predicted = read_any_predictions(path.parent / predictions.FILE)
        except UserError:
            unreadable.append(f"{path.parent.name}/{predictions.FILE}")
    digest = str(result.get("dataset_digest", ""))
    return Evaluation(path.parent, result, str(protocol), seed, digest, config, predicted)


def has_several_labels(result: Mapping[str, Any]) -> bool:
    """Whether a result.json is of a multi-label column."""
    return "accuracy" not in result and "lwlrap" in result
