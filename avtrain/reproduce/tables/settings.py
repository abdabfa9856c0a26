"""The published settings of tables 1 and 2 (Wang et al. 2024), each where it can be read and changed.

A cell of a table is keyed by the digest of its own settings and of what it is made from, so that a changed setting
makes those cells anew and no others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avprep.config import BuildConfig
from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.config import EvaluateConfig, PretrainConfig

LABELS = ("label", "pseudo", "noise")
SUPERVISED = "supervised"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way of sampling in the pretext task."""

    name: str
    """as published"""
    strategy: str
    """as in PretrainConfig"""
    labels: str = "label"
    """what the strategy goes by: `label`: the true classes; `pseudo`, `noise`: the columns made below"""
    batch_size: int = 309
    """pairs in a batch"""

    def __post_init__(self) -> None:
        configs.check(self.labels in LABELS, f"labels must be one of {', '.join(LABELS)}, not {self.labels!r}.")


@dataclass(frozen=True, kw_only=True)
class Column:
    """What is measured on a dataset of every pretrained encoder."""

    name: str
    """as published"""
    evaluate: EvaluateConfig
    """how; its seed is that of the row"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A dataset and what is learnt on it."""

    title: str
    """as published"""
    manifest: tuple[str, ...]
    """words of `avprep manifest`; a path below `{root}` is one of the dataset's own files, a bare name one of ours"""
    columns: tuple[Column, ...]
    """of pretrained encoders"""
    supervised: EvaluateConfig
    """of an encoder from scratch"""
    fitted_on: tuple[str, ...] = ()
    """words of `avprep manifest` whose clips alone are fitted on, chosen by and tested; none: all of `manifest`"""


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """All that makes a table; what is not set here is the default of the config named, which is the paper's."""

    table: str
    """whose published figures are beside it: table1 or table2"""
    rows: tuple[Row, ...]
    """of the table"""
    vggsound: Task
    """of the pretext task, and in domain"""
    tau2021: Task
    """out of domain"""
    fsdnoisy18k: Task
    """out of domain"""
    build: BuildConfig = field(default_factory=BuildConfig)
    """frames and log-mel of all datasets"""
    pretext: PretrainConfig = field(default_factory=lambda: PretrainConfig(val_every=0))
    """of every row; strategy, labels, batch_size and seed are the row's"""
    pseudo_labels: tuple[str, ...] = ("--model", "efficientnet_b0", "--frame", "middle")
    """words of `avprep pseudo-label`"""
    label_noise: tuple[str, ...] = ("--share", str(36 / 123), "--seed", "0")
    """words of `avprep add-noise`: 36 of 123 labels a class replaced (there of each class, here over all)"""

    @property
    def tasks(self) -> dict[str, Task]:
        """By the name of the dataset."""
        return {name: getattr(self, name) for name in TASKS}


TASKS = ("vggsound", "tau2021", "fsdnoisy18k")


def task(
    title: str,
    manifest: tuple[str, ...],
    *,
    split: str,
    window_seconds: float,
    supervised_seconds: float,
    supervised_windows: int = 4,
    validation_share: float = 0.2,
    few: float | None = None,
    fitted_on: tuple[str, ...] = (),
) -> Task:
    """A task in the paper's settings: Adam 1e-4, weight decay 1e-4, batch 64, 100 epochs, dropout 0.5 before the layer.

    Linear is the released code's (encoder in train mode), whose figures the published ones are. `few` adds a column
    that is finetuned on this share of the labels.
    """
    finetune = EvaluateConfig(
        protocol="finetune",
        window_seconds=window_seconds,
        split=split,
        validation_share=validation_share,
    )
    columns = [Column(name="linear", evaluate=dataclasses.replace(finetune, protocol="linear", probe="released"))]
    if few is not None:
        share = dataclasses.replace(finetune, label_fraction=few)
        columns.append(Column(name=f"finetune {100 * few:g} %", evaluate=share))
    columns.append(Column(name="finetune", evaluate=finetune))
    scratch = dataclasses.replace(
        finetune, protocol=SUPERVISED, window_seconds=supervised_seconds, windows_per_clip=supervised_windows
    )
    return Task(title=title, manifest=manifest, columns=tuple(columns), supervised=scratch, fitted_on=fitted_on)


TAU2021 = task(
    "TAU",
    (
        "tau2021",
        "--train",
        "{root}/evaluation_setup/fold1_train.csv",
        "--test",
        "{root}/evaluation_setup/fold1_evaluate.csv",
        "--val-locations",
        "tau2021_val_locations_paper.txt",
    ),
    split="auto",  # 7,128 / 1,518 by location
    window_seconds=2.0,
    supervised_seconds=10.0,  # the whole of a clip
    supervised_windows=1,
)
FSDNOISY18K = task(
    "FSD",
    ("fsdnoisy18k", "--subset", "clean"),
    split="group",
    validation_share=0.15,
    window_seconds=2.0,
    supervised_seconds=2.0,
)
BALANCED = ("vggsound", "--metadata", "vggsound_test.csv", "--subset", "vggsound_balanced_38007.csv")
TABLE_1 = TableSettings(
    table="table1",
    rows=(
        Row(name="random", strategy="random"),
        Row(name="easy-negative", strategy="easy-negative"),
        Row(name="hard-negative", strategy="hard-negative", batch_size=123),
        Row(name="soft-positive 50 %", strategy="soft-positive:p=0.5"),
        Row(name="soft-positive", strategy="soft-positive"),
        Row(name="PL-soft-positive", strategy="soft-positive", labels="pseudo"),
        Row(name="SP70", strategy="soft-positive", labels="noise"),
    ),
    vggsound=task(
        "VGGSound",
        BALANCED,
        split="released",  # 30,406 / 7,601 by clip
        window_seconds=1.0,
        supervised_seconds=1.0,
    ),
    tau2021=TAU2021,
    fsdnoisy18k=FSDNOISY18K,
)
TABLE_2 = TableSettings(
    table="table2",
    rows=(
        Row(name="random", strategy="random"),
        Row(name="soft-positive", strategy="soft-positive"),
        Row(name="PL-soft-positive", strategy="soft-positive", labels="pseudo"),
    ),
    vggsound=task(
        "VGGSound",
        ("vggsound", "--metadata", "{root}/vggsound.csv"),
        split="released",
        window_seconds=1.0,
        supervised_seconds=1.0,
        few=0.05,
        fitted_on=BALANCED,  # section 3.3 of the paper
    ),
    tau2021=TAU2021,
    fsdnoisy18k=FSDNOISY18K,
)
TABLES = {settings.table: settings for settings in (TABLE_1, TABLE_2)}


def read_settings(path: Path, table: str) -> TableSettings:
    """The settings of a table with those of a JSON file in place of the published ones. Errors: UserError."""
    values = store.read_json(path)
    if not isinstance(values, dict) or values.get("table", table) != table:
        raise UserError(f"{path} holds no settings of {table}; OUT/settings.json of such a table does.")
    return changed(TABLES[table], values, str(path))


def changed(usual: Any, values: Mapping[str, Any], where: str) -> Any:
    """The dataclass `usual` with `values` of a JSON object in it, nested ones too.

    In a tuple of dataclasses, each begins from the one of the same name, or from the first. Errors: UserError that
    begins with `where`, for an unknown key or a value of another kind.
    """
    known = {item.name for item in dataclasses.fields(usual)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UserError(f"{where} sets {unknown[0]!r}, which there is not; there are {', '.join(sorted(known))}.")
    new = {name: _like(getattr(usual, name), value, f"{where}: {name}") for name, value in values.items()}
    return dataclasses.replace(usual, **new)


def _like(usual: Any, value: Any, where: str) -> Any:
    """`value` as what `usual` is an example of."""
    if dataclasses.is_dataclass(usual) and isinstance(value, Mapping):
        return changed(usual, value, where)
    if isinstance(usual, tuple) and isinstance(value, list):
        if not usual or not dataclasses.is_dataclass(usual[0]):
            return tuple(_like(usual[0] if usual else "", item, where) for item in value)
        by_name = {one.name: one for one in usual}
        return tuple(
            _like(by_name.get(item.get("name") if isinstance(item, dict) else None, usual[0]), item, where)
            for item in value
        )
    if type(usual) is float and type(value) is int:
        return float(value)
    if type(value) is not type(usual) or dataclasses.is_dataclass(usual):
        raise UserError(f"{where} is {value!r}, where something like {_example(usual)} is needed.")
    return value


def _example(usual: Any) -> str:
    return "an object" if dataclasses.is_dataclass(usual) else repr(usual)
