"""What a table of avtrain reproduce is made of before anything is made: keys, commands, the dry run."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avprep.config import BuildConfig
from avprep.shared import configs, store
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.reproduce.tables.matrix import Step, matrix_of
from avtrain.reproduce.tables.settings import SUPERVISED, TABLES, TableSettings, changed
from tests.docker.recipes import parsed
from tests.train.roots import LISTS
from tests.train.tablemaking import FOLDERS, SITE, refused, reproduce

OTHER_WORDS = {
    "resize": ("crop",),
    "resize_filter": ("lanczos",),
    "frame_codec": ("jpeg",),
    "decibels": ("power",),
    "decoder": ("ffmpeg",),
    "labels": ("noise", "label"),
    "model_size": ("tiny",),
    "loss": ("mask",),
    "schedule": ("cosine",),
    "precision": ("bf16",),
    "jpeg_decoder": ("device",),
    "protocol": ("knn",),
    "probe": ("standard", "released"),
    "split": ("auto", "group"),
    "norm": ("encoder",),
    "downmix": ("mean", "swresample"),
    "checkpoint": ("best",),
    "strategy": ("soft-positive:p=0.9",),
    "projection": ("mlp",),
    "optimizer": ("adamw",),
    "side": ("video",),
    "weights": ("raw",),
    "balance": ("weights",),
}
TOGETHER = {
    "sample_rate_hz": {"sample_rate_hz": 32_000, "hop_samples": 320},
    "val_share": {"val_every": 1, "val_share": 0.1},
    "projection_hidden": {"projection": "mlp", "projection_hidden": 64},
    "freeze": {"freeze": "video", "init_from": "run"},
    "frozen_windows": {"freeze": "video", "init_from": "run", "frozen_windows": 2},
    "chunk_size": {"chunk_size": 8},
    "crop_size": {"crop_size": 16},
    "fold_column": {"fold_column": "folds", "fold": "1"},
    "fold": {"fold_column": "folds", "fold": "1"},
}
OF_THE_ROW = {"strategy", "labels", "batch_size", "seed"}  # fields of `pretext` that each row has its own value of


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(path, value) of every value of nested settings."""
    items = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, (list, tuple)) else ()
    )
    for name, value in items:
        yield from leaves(value, (*path, name))
    if not isinstance(values, (dict, list, tuple)):
        yield path, values


def other(name: Any, value: Any) -> Any:
    """Another value that the setting may have."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.75 or 0.5
    return next((word for word in OTHER_WORDS.get(name, ()) if word != value), f"{value}x")


def varied() -> list[tuple[tuple[Any, ...], TableSettings]]:
    """(path, settings of table 1 with that one value changed), for every value that is a setting of its own.

    Without hard-negative, with which a loss over labels would make no sense.
    """
    usual = TABLES["table1"]
    usual = dataclasses.replace(usual, rows=tuple(row for row in usual.rows if row.name != "hard-negative"))
    found = []
    for path, value in leaves(configs.to_dict(usual)):
        owned = (path[0] == "pretext" and path[1] in OF_THE_ROW) or path[-1] == "seed"
        if owned or path[-1] in ("table", "title", "name", "hop_samples"):
            continue
        values = json.loads(json.dumps(configs.to_dict(usual)))
        place = values
        for name in path[:-1]:
            place = place[name]
        if path[-1] == "spec_augment" and place.get("protocol") == "linear":
            continue  # which trains no encoder
        if isinstance(place, dict) and path[-1] in TOGETHER:
            place.update(TOGETHER[path[-1]])
        else:
            place[path[-1]] = other(path[-1], value)
        found.append((path, changed(usual, values, "here")))
    return [((), usual), *found]


def keys(settings: TableSettings) -> dict[str, str]:
    return {step.name: step.digest for step in matrix_of(settings, SITE).steps}


def concerned(path: tuple[Any, ...], usual: TableSettings, steps: list[Step]) -> set[str]:
    """Names of the steps whose key a setting is part of: those that it makes, and what is made from these."""

    def own(step: Step) -> bool:
        if path[0] == "build":
            return step.kind == "build"
        if path[0] == "pretext":
            return step.kind == "pretrain"
        if path[0] == "pseudo_labels":
            return step.kind == "pseudo-label"
        if path[0] == "label_noise":
            return step.kind == "add-noise"
        if path[0] == "rows":
            row = usual.rows[path[1]].name.lower().replace(" %", "").replace(" ", "-")
            return step.name == f"pretrain-{row}-s0"
        if path[1] == "manifest":
            return step.name == f"manifest-{path[0]}"
        if path[1] == SUPERVISED:
            return step.name == f"evaluate-supervised-{path[0]}-s0"
        column = getattr(usual, path[0]).columns[path[2]].name
        return step.kind == "evaluate" and step.name.endswith(f"-{path[0]}-{column}-s0")

    found: set[str] = set()
    for step in steps:
        if own(step) or found & {need.name for need in step.needs}:
            found.add(step.name)
    return found


@pytest.mark.slow
def test_every_setting_keys_its_cells_and_what_is_made_from_them_and_nothing_else():
    (_, usual), *others = varied()
    before, steps = keys(usual), matrix_of(usual, SITE).steps
    assert len(others) > 200
    for path, settings in others:
        after = keys(settings)
        wanted = concerned(path, usual, steps)
        assert wanted, path
        assert before.keys() - after.keys() <= {"add-noise", "pseudo-label"}, path  # of which no row has need any more
        assert {name for name in after if after[name] != before[name]} == wanted, path


def test_tables_from_before_a_setting_keep_their_cells():
    """Digests are parts of names of folders that users have: they do not change with a version."""
    usual = keys(TABLES["table1"])
    assert usual["build-tau2021"].startswith("cd04ea9f4c8b")
    assert usual["pretrain-random-s0"].startswith("30af83029072")
    assert usual["evaluate-supervised-tau2021-s0"].startswith("c146627a060f")


def test_means_are_no_settings():
    """Devices, processes and --out change no key; another folder of clips changes those of its dataset."""
    usual = keys(TABLES["table1"])
    for site in (
        dataclasses.replace(SITE, workers=3, device="cuda:1"),
        dataclasses.replace(SITE, out=Path("/elsewhere")),
    ):
        assert {step.name: step.digest for step in matrix_of(TABLES["table1"], site).steps} == usual
    moved = dataclasses.replace(SITE, roots=FOLDERS | {"tau2021": Path("/other")})
    after = {step.name: step.digest for step in matrix_of(TABLES["table1"], moved).steps}
    assert {name for name in usual if after[name] != usual[name]} == {name for name in usual if "tau2021" in name}


@pytest.mark.parametrize("table", TABLES)
def test_commands_give_all_that_is_set(table):
    """What the program takes from the command of a step are the settings that key it."""
    settings = changed(TABLES[table], {"build": {"audio": {"resample": False}}, "pretext": {"compile": True}}, "here")
    kinds: dict[str, type] = {"pretrain": PretrainConfig, "evaluate": EvaluateConfig}
    for step in matrix_of(settings, dataclasses.replace(SITE, workers=5)).steps:
        found = parsed([*step.command, *step.means])
        if step.kind in kinds:
            names = {field.name for field in dataclasses.fields(kinds[step.kind])}
            assert {name: value for name, value in found.items() if name in names} == step.settings
            assert found["device"] == "auto"
        elif step.kind == "build":
            usual = {**configs.flat(configs.to_dict(BuildConfig())), "resample": None}
            given = {name: value for name, value in found.items() if name in usual and value is not None}
            assert usual | given == configs.flat(step.settings) | {"resample": False}
            assert found["workers"] == 5


def test_a_run_is_done_when_it_ended_well(tmp_path):
    steps = matrix_of(TABLES["table1"], dataclasses.replace(SITE, out=tmp_path)).steps
    step = next(step for step in steps if step.kind == "pretrain")
    for status, code in (("interrupted", 75), ("failed", 1), ("user-error", 2), ("done", 0)):
        assert not step.is_done
        store.write_json(step.ends_with, {"status": status, "code": code, "sentence": ""})
    assert step.is_done


def vggsound() -> Iterator[str]:
    """Names of the files of the paper's subset of VGGSound and of every tenth of the test list."""
    for name, every in (("vggsound_balanced_38007.csv", 1), ("vggsound_test.csv", 10)):
        with open(LISTS / name, newline="") as text:
            for row in list(csv.DictReader(text))[::every]:
                yield f"{row['youtube_id']}_{int(row['start_seconds']):06d}.mp4"


@pytest.mark.slow
def test_a_dry_run_at_full_size_decodes_and_writes_nothing(tmp_path):
    listed = tmp_path / "videos"
    listed.mkdir()
    for name in vggsound():
        (listed / name).touch()
    out = tmp_path / "out"
    printed = reproduce("table1", "--vggsound", listed, "--out", out, "--workers", 4, "--dry-run")
    said = {line.split()[0]: line for line in printed.splitlines()}
    assert "1,545 test, 38,007 train clips; 13,901 of the lists have no file" in said["manifest-vggsound"]
    assert "39,552 clips, 248.3 GB, 4 processes" in said["build-vggsound"]  # 16 x 112 x 112 x 3 + 25,600 bytes a second
    assert "41 min" in said["build-vggsound"]  # 39,552 clips, 4 a second and core
    for row, pairs, updates in (
        ("random", "38,007 pairs and 123 batches of 309", "12,300"),
        ("easy-negative", "38,007 pairs and 123 batches of 309", "12,300"),
        ("hard-negative", "38,007 pairs and 309 batches of 123", "30,900"),
        ("sp70", "38,007 pairs and 123 batches of 309", "12,300"),
    ):
        line = said[f"pretrain-{row}-s0"]
        assert f"{pairs} an epoch, {updates} updates" in line
        assert "17.3 h" in line  # 621 s an epoch
    assert "pretrain-pl-soft-positive-s0" not in said
    fits = "fits on 30,406 clips, chooses on 7,601, tests on 1,545; 47,600 updates"
    assert fits in said["evaluate-random-vggsound-finetune-s0"]
    assert "To do: 22 of 22 steps" in printed
    for words in ("TAU: its folder was not given", "PL-soft-positive: no weights", "four A100", "not measured"):
        assert words in printed
    assert not out.exists()


def test_a_dry_run_reports_what_cannot_be(tmp_path):
    root = tmp_path / "videos"
    root.mkdir()
    for name in sorted(vggsound())[:400]:
        (root / name).touch()
    words = ["--vggsound", root, "--out", tmp_path / "out", "--dry-run"]
    assert "A batch of 309 clips of different labels cannot be drawn" in refused(*words)
    assert "is not a folder" in refused("--vggsound", root / "none", *words[2:])
