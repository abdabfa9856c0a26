"""metrics.jsonl with a line for several updates, and the number of reading threads."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import avtrain.data.loader
import avtrain.training.validation
from avprep.shared.errors import Interrupted
from avtrain import devices
from avtrain.config import PretrainConfig
from avtrain.data.reader import Reader
from avtrain.distributed import read_ranks
from avtrain.runs import folder as run_folder
from avtrain.runs.loggers import TensorBoard
from avtrain.training import books
from avtrain.training.every_run import pretrain_runs
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

SETTINGS = {"model_size": "tiny", "batch_size": 4, "epochs": 3, "learning_rate": 1e-3, "max_steps": 8}
TIMES = ("seconds", "waited_seconds")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = [Forged("ab"[row % 2], split="train" if row < 13 else "val") for row in range(16)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def trained(folder, run, **settings):
    options = {name: settings.pop(name) for name in ("stopping", "read_threads", "change") if name in settings}
    return pretrain(folder, run, PretrainConfig(**SETTINGS | settings), quiet=True, **options)


def lines_of(run):
    """All lines of metrics.jsonl without what the clock says."""
    return [
        {name: value for name, value in line.items() if name not in TIMES and name != "val_seconds"}
        for line in run_folder.read_lines(run)
    ]


@pytest.fixture(scope="module")
def each(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("each") / "run"
    return trained(folder, run), lines_of(run)


def test_a_line_is_the_mean_of_its_updates_and_the_last_of_those_left(folder, tmp_path, each):
    result, single = each
    updates = [line for line in single if "loss" in line]
    assert not any("updates" in line for line in updates)
    found = trained(folder, tmp_path / "run", log_every=3)
    lines = lines_of(tmp_path / "run")
    assert [(line["step"], line["updates"], line["pairs"]) for line in lines if "loss" in line] == [
        (2, 3, 12),
        (5, 3, 12),
        (7, 2, 8),
    ]
    for line, part in zip((line for line in lines if "loss" in line), ((0, 3), (3, 6), (6, 8)), strict=True):
        of_part = updates[slice(*part)]
        for name in ("loss", "gradient_norm"):
            assert line[name] == pytest.approx(np.mean([one[name] for one in of_part]), rel=1e-12)
        for name in ("step", "epoch", "learning_rate", "temperature"):
            assert line[name] == of_part[-1][name]
    assert [line for line in lines if "loss" not in line] == [line for line in single if "loss" not in line]
    assert found.steps == result.steps
    assert found.last_loss == pytest.approx(
        np.average([line["loss"] for line in lines if "loss" in line][1:], weights=[3, 2])
    )


@pytest.fixture(scope="module")
def thirds(folder, tmp_path_factory):
    """Lines of a run with a line for three updates."""
    run = tmp_path_factory.mktemp("thirds") / "run"
    trained(folder, run, log_every=3)
    return lines_of(run)


@pytest.mark.parametrize("questions", [1, 2, 5])
def test_a_run_that_was_stopped_anywhere_has_the_lines_of_one_that_was_not(folder, tmp_path, thirds, questions):
    """It stops at the first yes, after so many questions, the fourth of them in validation."""
    asked = iter([False] * (questions - 1) + [True])
    with pytest.raises(Interrupted):
        trained(folder, tmp_path / "run", log_every=3, stopping=lambda: next(asked, False))
    meta = json.loads(max((tmp_path / "run").glob("step_*/meta.json")).read_text())
    assert meta["step"] % 3 == meta.get("unlogged", {"updates": 0})["updates"] > 0
    trained(folder, tmp_path / "run", log_every=3)
    assert lines_of(tmp_path / "run") == thirds


def test_a_kill_loses_no_update_of_a_line(folder, tmp_path, monkeypatch, thirds):
    """The process is gone after update 5; the checkpoint is of update 4, in the middle of a line."""
    write = run_folder.Metrics.write

    def killed(self, **values):
        write(self, **values)
        if values["step"] == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_folder.Metrics, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(folder, tmp_path / "run", log_every=3, checkpoint_every_steps=2)
    monkeypatch.undo()
    trained(folder, tmp_path / "run", log_every=3, checkpoint_every_steps=2)
    assert lines_of(tmp_path / "run") == thirds


def test_a_loss_that_is_not_finite_ends_the_run_before_its_line_is_due(folder, tmp_path, monkeypatch):
    numbers, calls = books.numbers_of, iter(range(100))
    monkeypatch.setattr(
        books,
        "numbers_of",
        lambda values: [math.nan] * len(values) if next(calls) == 3 else numbers(values),
    )
    with pytest.raises(FloatingPointError, match="at step 3"):
        trained(folder, tmp_path / "run", log_every=100)


def test_tensorboard_has_the_lines_too(folder, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(TensorBoard, "write", lambda self, values: written.append(values["step"]))
    config = PretrainConfig(**SETTINGS, log_every=4)
    pretrain(folder, tmp_path / "run", config, quiet=True, log=["tensorboard"])
    assert written == [line["step"] for line in run_folder.read_lines(tmp_path / "run")]


@pytest.mark.parametrize("threads", [1, 3])
def test_reading_threads_are_those_asked_for_and_change_nothing(folder, tmp_path, monkeypatch, each, threads):
    made = []

    class Spy(Reader):
        def __init__(self, dataset, threads=2, cache=None):
            made.append(threads)
            super().__init__(dataset, threads, cache)

    for module in (avtrain.data.loader, avtrain.training.validation):
        monkeypatch.setattr(module, "Reader", Spy)
    trained(folder, tmp_path / "run", read_threads=threads)
    assert len(made) > 1
    assert set(made) == {threads}
    assert lines_of(tmp_path / "run") == each[1]


@pytest.mark.parametrize(
    ("given", "cores", "ranks", "threads"), [(None, 16, 4, 4), (None, 3, 4, 1), (None, 96, 1, 32), (40, 2, 1, 40)]
)
def test_threads_that_read_are_the_cores_of_a_rank_unless_given(monkeypatch, given, cores, ranks, threads):
    monkeypatch.setattr(devices, "usable_cores", lambda: cores)
    assert devices.read_threads_of(given, ranks) == threads


@pytest.mark.parametrize(
    ("beside", "shared_by"), [({"LOCAL_WORLD_SIZE": "2"}, 2), ({}, 1), ({"LOCAL_WORLD_SIZE": "many"}, 1)]
)
def test_ranks_that_share_a_machine_share_its_cores(beside, shared_by):
    ranks = read_ranks({"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", **beside})
    assert ranks.local_world_size == shared_by


def test_the_default_is_on_record_and_a_run_of_other_threads_goes_on(folder, tmp_path, monkeypatch, each):
    monkeypatch.setattr(devices, "usable_cores", lambda: 3)
    pretrain_runs(folder, tmp_path / "run", SETTINGS | {"max_steps": 4}, quiet=True)
    assert json.loads((tmp_path / "run" / "env.json").read_text())["read_threads"] == 3
    pretrain_runs(folder, tmp_path / "run", SETTINGS, read_threads=1, quiet=True)
    assert lines_of(tmp_path / "run")[-1] == each[1][-1]
    assert "read_threads" not in (tmp_path / "run" / "config.json").read_text()
