"""Two ranks under torchrun make the run of one process, stop together, and say in exit.json how it ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
import torch
from click.testing import CliRunner

from avtrain.cli import main
from avtrain.data.augment import Augment
from avtrain.models.two_tower import TwoTower
from avtrain.runs import folder as run_folder
from tests import warm
from tests.conftest import REPOSITORY
from tests.train.forge import Forged, forge_dataset

pytestmark = pytest.mark.slow

STEPS, SAVED, LAST = 8, 3, 4  # updates of a run, between checkpoints, before a rank dies or the run is asked to stop
OPTIONS = [
    "--model-size=tiny",
    "--batch-size=9",
    "--epochs=2",
    "--strategy=soft-positive:p=0.5",
    "--threads=1",
    f"--checkpoint-every-steps={SAVED}",
    "--loss=supcon",
    "--learn-temperature",
    "--optimizer=adamw",
    "--projection=mlp",
    "--ema=0.9",
    "--chunk-size=2",
    "--val-every=2",
    "--device=cpu",
]
HANG_SECONDS = 200
# Batch norm is frozen, since on the CPU each rank has statistics of its own; pairs are told as they are encoded.
SCRIPT = f"""
import json, os, shutil, signal, sys, threading
from pathlib import Path
import torch
from avtrain.cli import main
from avtrain.data.augment import Augment
from avtrain.models.two_tower import TwoTower
rank, dies, told = int(os.environ.get("RANK", 0)), sys.argv[1], Path(sys.argv[2])
TwoTower.train = lambda self, mode=True: torch.nn.Module.train(self, False)
forward = Augment.forward
def told_forward(self, batch):
    with open(told / f"rank{{rank}}.jsonl", "a") as lines:
        lines.write(json.dumps([batch.epoch, batch.step, batch.plan.tolist()]) + "\\n")
    if batch.epoch * {STEPS // 2} + batch.step == {LAST}:
        if dies == "killed" and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if dies == "asked" and rank == 1:
            arrived, handler = threading.Event(), signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *told: (handler(*told), arrived.set()))
            os.kill(int(os.environ["{warm.PARENT}"]), signal.SIGTERM)  # torchrun, which tells all ranks
            arrived.wait(60)
            os.kill(os.getpid(), signal.SIGTERM)  # a scheduler tells every process as well
    return forward(self, batch)
Augment.forward = told_forward
if rank == 1 and dies in ("short", "gone"):  # its machine has another copy of the dataset
    copy = told / "copy"
    shutil.copytree(sys.argv[4], copy)
    if dies == "gone":
        (copy / "dataset.json").unlink()
    for shard in copy.rglob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:1000])
    sys.argv[4] = str(copy)
main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """36 training clips of three classes: four batches of nine, five and four of which are a rank's; 18 to validate."""
    clips = [Forged("abc"[row % 3], split="train" if row < 36 else "val") for row in range(54)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def command(told, folder, run, dies="nobody"):
    """Two ranks under torchrun, from the folder of script.py; each writes its plans below `told`."""
    launcher = [warm.tools() / "torchrun", "--standalone", "--nproc-per-node=2", "--no-python", "--", *warm.python()]
    return [str(part) for part in [*launcher, "script.py", dies, told, "pretrain", folder, "--run", run, *OPTIONS]]


def launch(tmp_path, folder, run, dies="nobody"):
    """(torchrun's exit code, what it printed, [(epoch, step, plan) of each rank]) of two ranks."""
    (tmp_path / "script.py").write_text(SCRIPT)
    told = tmp_path / f"told-{dies}"
    told.mkdir()
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(told, folder, run, dies),
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    paths = [told / f"rank{rank}.jsonl" for rank in range(2)]
    lines = [path.read_text().splitlines() if path.exists() else [] for path in paths]
    return done.returncode, done.stdout + done.stderr, [[tuple(json.loads(line)) for line in own] for own in lines]


def alone(folder, run):
    """The plans of the same command on one process, in this one."""
    plans = []
    forward = Augment.forward

    def told(self, batch):
        plans.append((batch.epoch, batch.step, batch.plan.tolist()))
        return forward(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Augment, "forward", told)
        patch.setattr(TwoTower, "train", lambda self, mode=True: torch.nn.Module.train(self, False))
        done = CliRunner().invoke(main, ["pretrain", str(folder), "--run", str(run), *OPTIONS])
    assert done.exit_code == 0, done.output
    return plans


def joined(ranks):
    """The global plans of the steps that both ranks came to."""
    for first, second in zip(*ranks, strict=False):
        assert first[:2] == second[:2]
        assert (len(first[2]), len(second[2])) == (5, 4)
    return [(*first[:2], first[2] + second[2]) for first, second in zip(*ranks, strict=False)]


def curve(run):
    lines = run_folder.read_metrics(run)
    assert [line["step"] for line in lines] == list(range(STEPS))
    validation = run_folder.read_validation(run)
    assert [line["step"] for line in validation] == [STEPS - 1]
    scores = [line[f"val_{name}"] for line in validation for name in ("class_recall_at_1", "recall_at_5", "clips")]
    return [value for line in lines for value in (line["loss"], line["temperature"])] + scores


def ending(run):
    told = json.loads((run / "exit.json").read_text())
    return told["status"], told["code"]


def newest(run):
    return max(path.name for path in run.glob("step_*"))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """(run folder, plans) of one process that nothing stops."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, alone(folder, run)


@pytest.fixture(scope="module")
def killed(folder, tmp_path_factory):
    """(run folder, plans) after one of two ranks was killed with signal 9."""
    tmp_path = tmp_path_factory.mktemp("killed")
    code, printed, ranks = launch(tmp_path, folder, tmp_path / "run", "killed")
    assert code == 1, printed
    assert ending(tmp_path / "run") == ("failed", 1)
    assert newest(tmp_path / "run") == f"step_{SAVED:08d}"
    return tmp_path / "run", joined(ranks)


def test_two_ranks_that_are_killed_and_asked_to_stop_end_with_the_curve_of_one_process(folder, whole, killed, tmp_path):
    run, plans = tmp_path / "run", killed[1]
    shutil.copytree(killed[0], run)
    assert plans == whole[1][: LAST + 1]
    code, printed, ranks = launch(tmp_path, folder, run, "asked")
    assert code == 1
    assert f"checkpoint at step {LAST + 1} of {STEPS}" in printed
    assert ending(run) == ("interrupted", 75)
    assert newest(run) == f"step_{LAST + 1:08d}"
    assert joined(ranks) == whole[1][SAVED : LAST + 1]
    code, printed, ranks = launch(tmp_path, folder, run)
    assert code == 0, printed
    assert printed.count(f"{run}: {STEPS} updates") == 1
    assert ending(run) == ("done", 0)
    assert joined(ranks) == whole[1][LAST + 1 :]
    assert curve(run) == pytest.approx(curve(whole[0]), rel=1e-5)


def test_one_process_goes_on_where_two_were(folder, whole, killed, tmp_path):
    shutil.copytree(killed[0], tmp_path / "run")
    assert alone(folder, tmp_path / "run") == whole[1][SAVED:]
    assert curve(tmp_path / "run") == pytest.approx(curve(whole[0]), rel=1e-5)
    assert ending(tmp_path / "run") == ("done", 0)


@pytest.mark.parametrize(("mistake", "sentence"), [("short", "has 1000 bytes"), ("gone", "is no finished dataset")])
def test_the_mistake_of_one_rank_is_in_exit_json(folder, tmp_path, mistake, sentence):
    """Rank 1 finds no dataset on its machine, or only while it trains a shard that is too short."""
    code, printed, _ = launch(tmp_path, folder, tmp_path / "run", mistake)
    assert code == 1
    told = json.loads((tmp_path / "run" / "exit.json").read_text())
    assert (told["status"], told["code"]) == ("user-error", 2), printed
    assert sentence in told["sentence"]
    assert f"error: {told['sentence']}" in printed
    assert mistake == "short" or "Connection" not in printed  # before the first update all agree


def as_torchrun(monkeypatch):
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)):
        monkeypatch.setenv(name, str(value))


def test_a_mistake_under_torchrun_is_in_exit_json_and_does_not_block_the_run(folder, tmp_path, monkeypatch):
    as_torchrun(monkeypatch)
    arguments = ["pretrain", str(folder), "--run", str(tmp_path / "run"), *OPTIONS, "--max-steps=1"]
    for wrong in ("--batch-size=99", "--learning-rate=0", "--device=cuda:99"):
        done = CliRunner().invoke(main, [*arguments, wrong])
        assert done.exit_code == 2
        told = json.loads((tmp_path / "run" / "exit.json").read_text())
        assert (told["status"], told["code"]) == ("user-error", 2)
        assert told["sentence"] in done.output
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert ending(tmp_path / "run") == ("done", 0)


def test_a_folder_of_other_things_is_left_alone_under_torchrun(folder, tmp_path, monkeypatch):
    as_torchrun(monkeypatch)
    for name in ("thesis.txt", "exit.json"):
        (tmp_path / name).write_text("mine")
    done = CliRunner().invoke(main, ["pretrain", str(folder), "--run", str(tmp_path), *OPTIONS])
    assert done.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exit.json", "thesis.txt"]
    assert (tmp_path / "exit.json").read_text() == "mine"
