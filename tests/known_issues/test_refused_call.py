"""A refused call turned a finished run into an unfinished one: exit.json went before the settings were checked."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from avprep.shared.store import folder_lock
from avtrain.cli import main
from avtrain.distributed import Ranks
from avtrain.report.gather import read_run
from avtrain.reproduce.tables.matrix import Step
from avtrain.runs import folder as run_folder
from avtrain.runs.exit_status import outcome_recorded, refusal_recorded
from avtrain.runs.remote import at_hand
from tests.train.forge import Forged, forge_dataset

WORDS = ["--model-size=tiny", "--batch-size=4", "--max-steps=2", "--device=cpu", "--threads=1"]
WRONG = {
    "another seed": ["--seed=7"],
    "another learning rate": ["--learning-rate=0.5"],
    "a batch that cannot be": ["--batch-size=99"],
    "a setting that cannot be": ["--learning-rate=0"],
    "no such device": ["--device=cuda:99"],
    "both kinds of seeds": ["--seed=1", "--seeds=1-2"],
    "no such strategy": ["--strategy=hardest"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("ab"[number % 2]) for number in range(8)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    done = train(data, run)
    assert done.exit_code == 0, done.output
    return run


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def train(data, run, *options):
    return CliRunner().invoke(main, ["pretrain", str(data), "--run", str(run), *WORDS, *options])


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def as_torchrun(monkeypatch):
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)):
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("wrong", WRONG)
def test_a_finished_run_stays_as_it_is(data, run, wrong):
    before = files(run)
    done = train(data, run, *WRONG[wrong])
    assert done.exit_code == 2, done.output
    assert files(run) == before
    assert read_run(run, "run").status == "done"


@pytest.mark.parametrize("wrong", WRONG)
def test_under_torchrun_the_code_is_written_and_the_run_is_still_done(data, run, wrong, monkeypatch):
    """torchrun hides the exit code, so exit.json has it and the sentence; the status stays that of the run."""
    as_torchrun(monkeypatch)
    done = train(data, run, *WRONG[wrong])
    found = json.loads((run / "exit.json").read_text())
    assert (done.exit_code, found["status"], found["code"]) == (2, "done", 2)
    assert found["sentence"]
    assert found["sentence"] in done.output
    step = Step("pretrain", "", "", {}, (), (), (), run / "exit.json")
    assert step.is_done  # so 'avtrain reproduce' does not make it anew
    assert train(data, run).exit_code == 0
    assert json.loads((run / "exit.json").read_text()) == {"status": "done", "code": 0, "sentence": ""}


@pytest.mark.parametrize("launched", [False, True])
def test_a_run_that_another_process_trains_is_left_to_it(data, run, launched, monkeypatch):
    """While it trains there is no exit.json, and a refused second process writes none without torchrun."""
    if launched:
        as_torchrun(monkeypatch)
    (run / "exit.json").unlink()
    with folder_lock(run, "training in"):
        done = train(data, run)
    assert "Another process is training" in done.output
    assert (run / "exit.json").exists() == launched


def test_runs_of_several_seeds_stay_as_they_are(data, tmp_path):
    run = tmp_path / "runs"
    assert train(data, run, "--seeds=0,1").exit_code == 0
    before = files(run)
    assert train(data, run, "--seeds=0,1", "--learning-rate=0.5").exit_code == 2
    assert files(run) == before


def test_a_finished_run_at_a_url_stays_as_it_is(data):
    url = "memory://refused/run"
    assert train(data, url).exit_code == 0
    with at_hand(url) as hand:
        before = files(hand.folder)
    assert train(data, url, "--seed=7").exit_code == 2
    with at_hand(url) as hand:
        assert files(hand.folder) == before
        assert hand.status == "done"


def test_the_first_rank_that_fails_counts_and_an_earlier_file_does_not(run):
    ranks = Ranks(launched=True)

    def late():
        run_folder.write_exit(run, "user-error", 2, "of another rank")
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"), refusal_recorded(run, ranks, "done"):
        late()
    assert json.loads((run / "exit.json").read_text())["sentence"] == "of another rank"
    with pytest.raises(ValueError, match="first"), refusal_recorded(run, ranks, "done"):
        raise ValueError("first")
    assert json.loads((run / "exit.json").read_text()) == {"status": "done", "code": 1, "sentence": "first"}
    run_folder.clear_exit(run)
    with pytest.raises(ValueError, match="loss"), refusal_recorded(run, ranks, "done"), outcome_recorded(run, ranks):
        raise ValueError("loss")
    assert json.loads((run / "exit.json").read_text()) == {"status": "failed", "code": 1, "sentence": "loss"}
