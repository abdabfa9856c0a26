"""`--seeds` makes the runs that `--seed` makes one by one; a mistake in any stops all before they begin."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.training.every_run import seeds_of
from tests.train.forge import Forged, forge_dataset

OPTIONS = ("--model-size=tiny", "--batch-size=6", "--epochs=1", "--device=cpu", "--threads=1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("abc"[row % 3]) for row in range(12)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module")
def several(data, tmp_path_factory):
    """A folder with runs of seeds 3 and 1."""
    run = tmp_path_factory.mktemp("runs") / "several"
    done = train(data, run, "--seeds=3,1")
    assert done.exit_code == 0, done.output
    ended = [line for line in done.output.splitlines() if " updates, loss " in line]
    assert [line.split(":")[0] for line in ended] == [str(run / "seed-3"), str(run / "seed-1")]
    return run


def train(data, run, *options):
    return CliRunner().invoke(main, ["pretrain", str(data), "--run", str(run), *OPTIONS, *options])


def model(run):
    return (run / "step_00000002" / "model.safetensors").read_bytes()


def times(run):
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != "exit.json"}


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-4", [0, 1, 2, 3, 4]), ("0,2,5", [0, 2, 5]), ("7", [7]), ("3-3, 1", [3, 1]), ("8-9,0-1", [8, 9, 0, 1])],
)
def test_seeds_in_words(text, seeds):
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "4-2", "0-4-8", "1,,2", "1.5", "0-9999", "1,1", "0-3,2"])
def test_what_is_no_list_of_seeds(text):
    with pytest.raises(UserError, match="names"):
        seeds_of(text)


def test_each_is_the_run_of_its_seed(data, several, tmp_path):
    assert sorted(path.name for path in several.iterdir()) == ["seed-1", "seed-3"]
    assert train(data, tmp_path / "alone", "--seed=3").exit_code == 0
    assert model(several / "seed-3") == model(tmp_path / "alone") != model(several / "seed-1")
    assert json.loads((several / "seed-1" / "config.json").read_text())["config"]["seed"] == 1
    assert json.loads((several / "seed-1" / "exit.json").read_text())["status"] == "done"


def test_the_same_command_adds_what_is_missing_and_does_nothing_twice(data, several, tmp_path):
    run = tmp_path / "runs"
    shutil.copytree(several, run)
    shutil.rmtree(run / "seed-1" / "step_00000002")
    before = times(run / "seed-3")
    done = train(data, run, "--seeds=1-3")
    assert done.exit_code == 0, done.output
    assert times(run / "seed-3").keys() == before.keys()
    checkpoint = run / "seed-3" / "step_00000002" / "model.safetensors"
    assert times(run / "seed-3")[checkpoint] == before[checkpoint]
    assert model(run / "seed-1") == model(several / "seed-1")
    assert (run / "seed-2" / "step_00000002").is_dir()


def test_a_mistake_in_the_last_stops_all_before_the_first(data, several, tmp_path):
    run = tmp_path / "runs"
    shutil.copytree(several / "seed-1", run / "seed-1")
    done = train(data, run, "--seeds=0,1", "--learning-rate=0.5")
    assert done.exit_code == 2
    assert f"{run / 'seed-1'} holds a run of other settings" in done.output
    assert sorted(path.name for path in run.iterdir()) == ["seed-1"]
    for wrong in ("--batch-size=99", "--device=cuda:99", "--init-from=nowhere", "--strategy=easy-negative"):
        assert train(data, tmp_path / "new", "--seeds=0-2", wrong).exit_code == 2
        assert not (tmp_path / "new").exists()


def test_a_saved_config_may_be_run_with_several_seeds(data, several, tmp_path):
    config = several / "seed-3" / "config.json"
    words = ["pretrain", str(data), "--run", str(tmp_path / "runs"), "--config", str(config), "--seeds=3"]
    done = CliRunner().invoke(main, [*words, "--device=cpu", "--threads=1"])
    assert done.exit_code == 0, done.output
    assert model(tmp_path / "runs" / "seed-3") == model(several / "seed-3")


def test_under_torchrun_a_mistake_is_in_the_folder_of_all(data, several, tmp_path, monkeypatch):
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)):
        monkeypatch.setenv(name, str(value))
    run = tmp_path / "runs"
    shutil.copytree(several / "seed-1", run / "seed-1")
    done = train(data, run, "--seeds=0,1", "--learning-rate=0.5")
    told = json.loads((run / "exit.json").read_text())
    assert (done.exit_code, told["status"]) == (2, "user-error")
    assert told["sentence"] in done.output
    assert train(data, run, "--seeds=1").exit_code == 0
    assert not (run / "exit.json").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = train(data, run, "--seeds=1")
    assert done.exit_code == 2
    assert "--seeds is for one process; under torchrun start a run for each --seed." in done.output
