"""What lies in run folders, and which runs are of one kind: read generically, so that runs of any version are shown."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.config import PROTOCOLS, EvaluateConfig, PretrainConfig
from avtrain.evaluation import predictions
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
FIRST_NAMED = (CHANGES, "labels", "loss", "batch_size", "accumulate", "learning_rate", "epochs", "max_steps")


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


@dataclass
class Kind:
    """Runs that differ in nothing but their seed (or fold)."""

    name: str
    runs: list[Run]
    number: int = 0


@dataclass
class Measurement:
    """Evaluations that were made alike, on one dataset (or its folds), by kind of run."""

    name: str
    protocol: str
    by_kind: dict[str, list[tuple[Run, Evaluation]]] = field(default_factory=dict)


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


def kinds_of(runs: Sequence[Run], datasets: Mapping[str, str], folds: bool) -> list[Kind]:
    """Runs grouped by settings and dataset (whatever dataset where `folds`), in the order given.

    A kind's name is its strategy and as few settings as set the kinds of that strategy apart. `datasets`: names by
    digest.
    """
    keys = [_key(run, folds) for run in runs]
    order = list(dict.fromkeys(keys))
    members = [[run for run, key in zip(runs, keys, strict=True) if key == one] for one in order]
    firsts = [group[0] for group in members]
    names = [_name(run, [other for other in firsts if other.config]) for run in firsts]
    kinds: list[Kind] = []
    for number, (name, group) in enumerate(zip(names, members, strict=True)):
        if names.count(name) > 1:
            name += f" on {dataset_name(group[0].dataset_digest, datasets)}"
        while any(name == kind.name for kind in kinds):
            name += "'"
        kinds.append(Kind(name, group, number))
    return kinds


def _key(run: Run, folds: bool) -> str:
    if run.config:
        settings = {name: value for name, value in run.config.items() if name not in NOT_A_KIND}
    else:
        settings = {"protocol": run.evaluations[0].protocol, **run.evaluations[0].settings}
    return json.dumps([settings, "" if folds or not run.config else run.dataset_digest], sort_keys=True)


def _name(run: Run, others: Sequence[Run]) -> str:
    """The strategy or the imported file, the settings that set it apart from its other kinds, and how many more differ.

    Those named are the first, FIRST_NAMED before others, that are needed to give each kind of the strategy a name of
    its own; "and N more" counts other settings in which this kind differs from the first of them.
    """
    if not run.config:
        return "supervised" if run.evaluations[0].protocol == "supervised" else "untrained"
    alike = [other.config for other in others if _origin(other.config) == _origin(run.config)]
    names = sorted({name for config in alike for name in config} - NOT_A_KIND)
    order = [*(name for name in FIRST_NAMED if name in names), *(name for name in names if name not in FIRST_NAMED)]
    named: list[str] = []
    for name in order:
        if _groups(alike, [*named, name]) > _groups(alike, named):
            named.append(name)
    settings = [f"{name.replace('_', ' ')} {run.config.get(name) or 'none'}" for name in sorted(named)]
    more = [name for name in names if name not in named and run.config.get(name) != alike[0].get(name)]
    return ", ".join([_origin(run.config), *settings]) + (f" and {len(more)} more" if more else "")


def _groups(configs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """How many of `configs` differ in the settings `names`."""
    return len({json.dumps([config.get(name) for name in names]) for config in configs})


def _origin(config: Mapping[str, Any]) -> str:
    return str(config.get("strategy") or f"{IMPORTED} {config.get(f'{IMPORTED} file', '')}".strip())


def dataset_name(digest: str, datasets: Mapping[str, str]) -> str:
    """The dataset's name, or the beginning of its digest."""
    return datasets.get(digest) or (f"dataset {digest[:8]}" if digest else "a dataset")


def measurements_of(kinds: Sequence[Kind], datasets: Mapping[str, str], folds: bool) -> list[Measurement]:
    """Evaluations grouped by protocol, settings and dataset; in the order of protocols, retrieval last."""
    by_key: dict[str, list[tuple[Kind, Run, Evaluation]]] = {}
    for kind in kinds:
        for run in kind.runs:
            for one in run.evaluations:
                where = one.result.get("class_names") if folds else one.dataset_digest
                settings = {k: v for k, v in one.settings.items() if k not in MODELS}
                key = json.dumps([one.protocol, where, settings], sort_keys=True)
                by_key.setdefault(key, []).append((kind, run, one))
    order = [*PROTOCOLS, RETRIEVAL]
    groups = sorted(by_key.values(), key=lambda rows: order.index(rows[0][2].protocol))
    firsts = [rows[0][2] for rows in groups]
    out = []
    for rows, first in zip(groups, firsts, strict=True):
        names = dict.fromkeys(_dataset_of(one, datasets) for _, _, one in rows)
        alike = [other for other in firsts if other.protocol == first.protocol and other is not first]
        differing = sorted(
            {name for other in alike for name, value in first.settings.items() if other.settings.get(name) != value}
        )
        words = [first.protocol, *(f"{name.replace('_', ' ')} {first.settings[name]}" for name in differing)]
        count = len({one.dataset_digest for _, _, one in rows})
        dataset = next(iter(names)) if count == 1 else f"{count} folds"
        measurement = Measurement(f"{', '.join(words)}, {dataset}", first.protocol)
        for kind, run, one in rows:
            measurement.by_kind.setdefault(kind.name, []).append((run, one))
        out.append(measurement)
    return out


def _dataset_of(one: Evaluation, datasets: Mapping[str, str]) -> str:
    return datasets.get(one.dataset_digest) or one.dataset_name or dataset_name(one.dataset_digest, datasets)


def open_datasets(folders: Sequence[Path | str]) -> dict[str, Dataset]:
    """The datasets by digest."""
    return {dataset.digest: dataset for dataset in map(Dataset, folders)}


def name_of(dataset: Dataset) -> str:
    """The name of a dataset's folder."""
    return str(dataset.folder).rstrip("/").rsplit("/", 1)[-1]
