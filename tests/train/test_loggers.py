"""Where metrics go besides metrics.jsonl: what each logger gets, under which id, and what is missing is a sentence.

Weights & Biases and trackio are stood in for by modules that record their calls, so that the tests need neither; where
a package is installed, the last two tests use it, offline.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types

import pytest
from click.testing import CliRunner

from avprep.shared.errors import Interrupted
from avtrain.cli import main
from avtrain.config import PretrainConfig
from avtrain.runs import folder as run_folder
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

CONFIG = PretrainConfig(model_size="tiny", batch_size=6, epochs=2, val_every=2, learning_rate=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve training clips: two batches of six; four clips to validate on."""
    clips = [Forged("ab"[row % 2], split="train" if row < 12 else "val") for row in range(16)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


class StandIn(types.ModuleType):
    """A module with the calls of wandb and trackio that we make; it keeps what it got."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.begun, self.lines, self.ended = [], [], 0

    def init(self, **settings):
        self.begun.append(settings)
        return self

    def log(self, values, step):
        self.lines.append((step, values))

    def finish(self):
        self.ended += 1


@pytest.fixture
def stand_in(request, monkeypatch):
    module = StandIn(request.param)
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


def stopped_and_resumed(folder, run, log):
    """Lines of metrics.jsonl of a run that was stopped after its first update."""
    with pytest.raises(Interrupted):
        pretrain(folder, run, CONFIG, stopping=lambda: True, log=log, quiet=True)
    pretrain(folder, run, CONFIG, log=log, quiet=True)
    return run_folder.read_lines(run)


@pytest.mark.parametrize("stand_in", ["wandb", "trackio"], indirect=True)
def test_a_logger_gets_every_line_and_a_resumed_run_keeps_its_id(folder, tmp_path, stand_in, monkeypatch):
    name, run = stand_in.__name__, tmp_path / "table" / "seed-3"
    monkeypatch.setenv(f"{name.upper()}_PROJECT", "ours")
    lines = stopped_and_resumed(folder, run, [name, name])
    kept = json.loads((run / "loggers.json").read_text())[name]
    first, second = stand_in.begun
    assert first == second
    assert (first["project"], first["resume"], first["config"]["batch_size"]) == ("ours", "allow", 6)
    if name == "wandb":
        assert (first["id"], first["name"], first["dir"]) == (kept, "table-seed-3", str(run))
    else:
        assert first["name"] == f"table-seed-3-{kept}"
    assert stand_in.ended == 2
    assert [{"step": step, **values} for step, values in stand_in.lines] == lines
    assert [step for step, _ in stand_in.lines] == [0, 1, 2, 3, 3]
    assert "val_class_recall_at_1" in stand_in.lines[-1][1]


@pytest.mark.parametrize("stand_in", ["wandb"], indirect=True)
def test_several_loggers_are_an_option_and_change_nothing_else(folder, tmp_path, stand_in, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    command = [
        "pretrain",
        folder,
        "--model-size=tiny",
        "--batch-size=6",
        "--max-steps=1",
        "--device=cpu",
        "--threads=1",
    ]
    for run, options in (("plain", []), ("logged", ["--log", "wandb, tensorboard", "--tensorboard"])):
        done = CliRunner().invoke(main, [str(word) for word in [*command, "--run", tmp_path / run, *options]])
        assert done.exit_code == 0, done.output
    assert stand_in.begun[0]["project"] == "avtrain"
    assert list((tmp_path / "logged" / "tensorboard").iterdir())
    for name in ("config.json", "step_00000001/model.safetensors"):
        assert (tmp_path / "logged" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert not (tmp_path / "plain" / "loggers.json").exists()


@pytest.mark.parametrize(
    ("options", "missing", "sentence"),
    [
        (["--log=mlflow"], None, "--log mlflow is not known; choose among tensorboard, wandb, trackio"),
        (["--log=wandb"], "wandb", "pip install 'avprep-avtrain[wandb]'"),
        (["--log=tensorboard,trackio"], "trackio", "pip install 'avprep-avtrain[trackio]'"),
    ],
)
def test_a_logger_that_is_not_there_is_a_sentence(folder, tmp_path, monkeypatch, options, missing, sentence):
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    command = ["pretrain", str(folder), "--run", str(tmp_path / "run"), "--model-size=tiny", *options]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert sentence in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stand_in", ["wandb"], indirect=True)
def test_a_logger_that_cannot_begin_is_a_sentence(folder, tmp_path, monkeypatch, stand_in):
    def refuse(**_):
        raise RuntimeError("api_key not configured (no-tty)\nmore")

    monkeypatch.setattr(stand_in, "init", refuse)
    command = ["pretrain", str(folder), "--run", str(tmp_path / "run"), "--model-size=tiny", "--log=wandb"]
    done = CliRunner().invoke(main, [*command, "--batch-size=6", "--device=cpu"])
    assert done.exit_code == 2
    assert (
        "--log wandb cannot begin (api_key not configured (no-tty)); run 'wandb login', set WANDB_MODE" in done.output
    )


def test_wandb_itself_offline(folder, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed; a stand-in has its calls above")
    monkeypatch.setenv("WANDB_MODE", "offline")
    stopped_and_resumed(folder, tmp_path / "run", ["wandb"])
    kept = json.loads((tmp_path / "run" / "loggers.json").read_text())["wandb"]
    files = list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{kept}/run-{kept}.wandb"))
    assert len(files) >= 1
    assert all(path.stat().st_size > 0 for path in files)


def test_trackio_itself(folder, tmp_path, monkeypatch):
    pytest.importorskip("trackio", reason="the extra trackio is not installed; a stand-in has its calls above")
    from trackio.sqlite_storage import SQLiteStorage

    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "trackio")
    lines = stopped_and_resumed(folder, tmp_path / "run", ["trackio"])
    kept = json.loads((tmp_path / "run" / "loggers.json").read_text())["trackio"]
    found = SQLiteStorage.get_logs("avtrain", f"run-{kept}")
    assert sorted(row["step"] for row in found) == [line["step"] for line in lines]
