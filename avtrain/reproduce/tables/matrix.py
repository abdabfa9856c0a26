"""The steps of a table, each a command of avprep or avtrain, what it needs, what keys it; and which cell is whose.

A step's digest is over its kind, its settings and the digests of what it needs, not over devices, processes or --out.
What lies outside --out (the datasets' roots, a file of weights) is known by its path.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from avprep.config import BuildConfig
from avprep.schema import DATASET, labels_path
from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.reproduce.tables.settings import SUPERVISED, Row, TableSettings
from avtrain.runs import folder as run_folder

RESULT = "result.json"
OWN_WEIGHTS = "efficientnet-lite0"  # comes with its weights
DIGITS = 12  # of a digest, in names

# fmt: off
FIRST_SETTINGS = {
    "pretrain": frozenset((
        "strategy", "labels", "model_size", "video_model", "video_pool", "audio_model", "init_from", "loss",
        "batch_size", "accumulate", "epochs", "val_every", "val_share", "max_steps", "learning_rate", "weight_decay",
        "warmup_steps", "schedule", "grad_clip_norm", "precision", "compile", "temperature", "learn_temperature",
        "spec_augment", "seed", "checkpoint_every_steps", "keep_checkpoints",
    )),
    "evaluate": frozenset((
        "protocol", "probe", "model_size", "audio_model", "checkpoint", "norm", "epochs", "patience", "batch_size",
        "learning_rate", "dropout", "weight_decay", "window_seconds", "test_windows", "windows_per_clip", "split",
        "labels", "label_fraction", "validation_share", "audible", "seed",
    )),
}
# fmt: on
"""Fields of PretrainConfig and EvaluateConfig that are part of every digest. One that came later is part of it where it
is not at its default, so that tables from before it keep their cells."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a table is made, of what, and with which means: none of it is a setting of the experiments."""

    roots: Mapping[str, Path]
    """folder of each dataset that is there, by its name in settings.TASKS"""
    out: Path
    """folder of all that is made"""
    pseudo_weights: Path | None = None
    """of the image classifier"""
    seeds: tuple[int, ...] = (0,)
    """of weights, plans and splits; a table with several shows means"""
    workers: int | None = None
    """decoding processes; None: all cores"""
    device: str = "auto"
    """as of `avtrain pretrain`"""


@dataclass(frozen=True)
class Step:
    """One command and the file that is there, whole, once it has ended well."""

    kind: str
    dataset: str
    name: str
    settings: Mapping[str, Any]
    needs: tuple[Step, ...]
    command: tuple[str, ...]
    means: tuple[str, ...]
    """options that are no settings, such as --workers"""
    ends_with: Path

    @cached_property
    def digest(self) -> str:
        """Hex sha256 that keys the step."""
        return digest_of(self.kind, self.settings, self.needs)

    @property
    def folder(self) -> Path:
        """Dataset or run folder that the step makes."""
        return self.ends_with.parent

    @property
    def is_done(self) -> bool:
        """Whether it has ended well."""
        if not self.ends_with.exists():
            return False
        return self.kind != "pretrain" or store.read_json(self.ends_with)["status"] == "done"


@dataclass(frozen=True)
class Cell:
    """A measured figure of the table; `column` is SUPERVISED in the row of that name."""

    row: str
    dataset: str
    column: str
    seed: int
    step: Step


@dataclass
class Matrix:
    """All steps in an order in which they can be made, and what they are for."""

    settings: TableSettings
    site: Site
    steps: list[Step] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    manifests: dict[str, Step] = field(default_factory=dict)
    datasets: dict[str, Step] = field(default_factory=dict)
    fitted: dict[str, Step] = field(default_factory=dict)
    """the label column of the clips that alone are fitted on, for datasets that have such a setting"""
    runs: dict[tuple[str, int], Step] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add(self, step: Step) -> Step:
        """`step`, entered."""
        self.steps.append(step)
        return step


def digest_of(kind: str, settings: Mapping[str, Any], needs: tuple[Step, ...]) -> str:
    """The digest of such a step."""
    if kind in FIRST_SETTINGS:
        defaults = configs.to_dict(PretrainConfig() if kind == "pretrain" else EvaluateConfig())
        first = FIRST_SETTINGS[kind]
        settings = {name: value for name, value in settings.items() if name in first or value != defaults[name]}
    return configs.digest({"kind": kind, "settings": dict(settings), "needs": [step.digest for step in needs]})


def matrix_of(settings: TableSettings, site: Site) -> Matrix:
    """The matrix of a table; nothing is read or written. Errors: UserError where no dataset is given."""
    if not site.roots:
        raise UserError("No dataset is given; give the folders that you have: --vggsound, --tau, --fsd.")
    whole = Matrix(settings, site)
    for name, task in settings.tasks.items():
        if name in site.roots:
            whole.manifests[name] = whole.add(_manifest(whole, name, task.manifest, f"manifest-{name}"))
        else:
            whole.left_out.append(f"{task.title}: its folder was not given")
    for name, manifest in whole.manifests.items():
        whole.datasets[name] = whole.add(_dataset(whole, name, manifest))
        if settings.tasks[name].fitted_on:
            whole.fitted[name] = _fitted_on(whole, name, whole.datasets[name])
    columns = _label_columns(whole)
    if "vggsound" not in whole.datasets:
        whole.left_out.append("all rows but supervised: the pretext task needs VGGSound")
    for seed in site.seeds:
        for row in settings.rows if "vggsound" in whole.datasets else ():
            if row.labels in columns:
                _add_row(whole, row, columns[row.labels], seed)
        for name, dataset in whole.datasets.items():
            config = dataclasses.replace(settings.tasks[name].supervised, seed=seed)
            step = whole.add(_evaluation(whole, f"{SUPERVISED}-{name}-s{seed}", config, dataset, None))
            whole.cells.append(Cell(SUPERVISED, name, SUPERVISED, seed, step))
    for row in settings.rows:
        if "vggsound" in whole.datasets and row.labels not in columns:
            whole.left_out.append(f"{row.name}: no weights of the image classifier were given (--pseudo-weights)")
    return whole


def _add_row(whole: Matrix, row: Row, column: Step | None, seed: int) -> None:
    """The run of a row, and its measurements on every dataset."""
    run = whole.runs[row.name, seed] = whole.add(_run(whole, row, column, seed))
    for name, dataset in whole.datasets.items():
        for one in whole.settings.tasks[name].columns:
            config = dataclasses.replace(one.evaluate, seed=seed)
            step_name = f"{slug(row.name)}-{name}-{slug(one.name)}-s{seed}"
            step = whole.add(_evaluation(whole, step_name, config, dataset, run))
            whole.cells.append(Cell(row.name, name, one.name, seed, step))


def _manifest(whole: Matrix, name: str, words: tuple[str, ...], step_name: str) -> Step:
    root = str(whole.site.roots[name])
    words = tuple(word.format(root=root) for word in words)
    settings = {"words": words, "root": root}
    path = whole.site.out / "manifests" / f"{name}-{digest_of('manifest', settings, ())[:DIGITS]}.csv"
    command = ("avprep", "manifest", *words, "--root", root, "--out", str(path))
    return Step("manifest", name, step_name, settings, (), command, (), path)


def _fitted_on(whole: Matrix, name: str, dataset: Step) -> Step:
    """The label column that only the clips of the task's `fitted_on` have a label in."""
    words = whole.settings.tasks[name].fitted_on
    manifest = whole.add(_manifest(whole, name, words, f"manifest-{name}-fitted"))
    needs = (dataset, manifest)
    column = f"fitted-{digest_of('add-labels', {}, needs)[:DIGITS]}"
    line = ("avprep", "add-labels", str(dataset.folder), str(manifest.ends_with), "--name", column)
    ends_with = dataset.folder / labels_path(column)
    return whole.add(Step("add-labels", name, f"fitted-{name}", {}, needs, line, (), ends_with))


def _dataset(whole: Matrix, name: str, manifest: Step) -> Step:
    config = whole.settings.build
    settings, needs = configs.to_dict(config), (manifest,)
    folder = whole.site.out / "datasets" / f"{name}-{digest_of('build', settings, needs)[:DIGITS]}"
    line = ("avprep", "build-shards", str(manifest.ends_with), "--out", str(folder))
    command = (*line, *options_of(config, BuildConfig()))
    means = () if whole.site.workers is None else ("--workers", str(whole.site.workers))
    return Step("build", name, f"build-{name}", settings, needs, command, means, folder / DATASET)


def _label_columns(whole: Matrix) -> dict[str, Step | None]:
    """The step that makes each label column that can be made, None for that of the dataset itself."""
    columns: dict[str, Step | None] = {"label": None}
    dataset, wanted = whole.datasets.get("vggsound"), {row.labels for row in whole.settings.rows}
    if dataset is None:
        return columns
    weights = whole.site.pseudo_weights
    words = whole.settings.pseudo_labels
    if "pseudo" in wanted and (weights is not None or OWN_WEIGHTS in words):
        words += () if weights is None else ("--weights", str(weights))
        means = ("--device", whole.site.device)
        columns["pseudo"] = whole.add(_label_column("pseudo-label", words, dataset, means))
    if "noise" in wanted:
        columns["noise"] = whole.add(_label_column("add-noise", whole.settings.label_noise, dataset, ()))
    return columns


def _label_column(command: str, words: tuple[str, ...], dataset: Step, means: tuple[str, ...]) -> Step:
    settings, needs = {"words": words}, (dataset,)
    name = f"{command}-{digest_of(command, settings, needs)[:DIGITS]}"
    line = ("avprep", command, str(dataset.folder), *words, "--name", name)
    return Step(command, dataset.dataset, command, settings, needs, line, means, dataset.folder / labels_path(name))


def _run(whole: Matrix, row: Row, column: Step | None, seed: int) -> Step:
    dataset = whole.datasets["vggsound"]
    config = dataclasses.replace(
        whole.settings.pretext,
        strategy=row.strategy,
        labels="label" if column is None else column.ends_with.stem,
        batch_size=row.batch_size,
        seed=seed,
    )
    settings, needs = configs.to_dict(config), (dataset,) if column is None else (dataset, column)
    name = f"{slug(row.name)}-s{seed}"
    run = whole.site.out / "runs" / f"{name}-{digest_of('pretrain', settings, needs)[:DIGITS]}"
    command = ("avtrain", "pretrain", str(dataset.folder), "--run", str(run), *options_of(config, PretrainConfig()))
    means = ("--device", whole.site.device)
    return Step("pretrain", dataset.dataset, f"pretrain-{name}", settings, needs, command, means, run / run_folder.EXIT)


def _evaluation(whole: Matrix, name: str, config: EvaluateConfig, dataset: Step, run: Step | None) -> Step:
    needs = (dataset,) if run is None else (dataset, run)
    fitted = whole.fitted.get(dataset.dataset)
    if fitted is not None:
        config, needs = dataclasses.replace(config, labels=fitted.ends_with.stem), (*needs, fitted)
    settings = configs.to_dict(config)
    parent = whole.site.out / "supervised" if run is None else run.folder / "eval"
    out = parent / f"{name}-{digest_of('evaluate', settings, needs)[:DIGITS]}"
    line = ("avtrain", "evaluate", str(dataset.folder), "--out", str(out))
    of_run = () if run is None else ("--run", str(run.folder))
    command = (*line, *of_run, *options_of(config, EvaluateConfig()))
    means = ("--device", whole.site.device)
    return Step("evaluate", dataset.dataset, f"evaluate-{name}", settings, needs, command, means, out / RESULT)


def options_of(config: Any, usual: Any) -> tuple[str, ...]:
    """Command-line options for the values in which `config` differs from `usual`, the command's own defaults."""
    defaults, words = configs.flat(configs.to_dict(usual)), []
    for name, value in configs.flat(configs.to_dict(config)).items():
        if value == defaults[name]:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return tuple(words)


def slug(name: str) -> str:
    """A name in lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
