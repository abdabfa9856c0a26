"""A run ends with the same bits whatever stops it on the way, and says how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.data.reader import Reader
from avtrain.runs import folder as run_folder
from avtrain.training.losses import LOSSES, info_nce
from tests import warm

STEPS = 24  # four epochs of six
OPTIONS = [
    "--model-size=tiny", "--batch-size=8", "--epochs=4", "--strategy=soft-positive:p=0.5", "--learning-rate=1e-3",
    "--checkpoint-every-steps=5", "--threads=1",
]  # fmt: skip
HANG_SECONDS = 120
STOP_STEP, CHECKPOINT_BEFORE = 13, 10

# The process says when it has come to a point, and waits there for a line.
POINTS = {
    "between checkpoints": f"""
from avtrain.runs import folder as run_folder
original = run_folder.Metrics.write
def write(self, **values):
    original(self, **values)
    if values["step"] == {STOP_STEP}:
        self.flush()
        wait()
run_folder.Metrics.write = write
""",
    "before a checkpoint gets its name": """
from avtrain.runs import checkpoint
original = checkpoint.os.replace
def replace(source, target):
    if target.name == "step_00000015":
        wait()
    original(source, target)
checkpoint.os.replace = replace
""",
}
SAVED_AS_ASKED = f"step_{STOP_STEP + 1:08d}"
AGAIN = f"""
import atexit
atexit.register(lambda: wait())
{POINTS["between checkpoints"]}
{POINTS["before a checkpoint gets its name"].replace("step_00000015", SAVED_AS_ASKED).replace("original", "rename")}
"""
WAITING = """
import os, sys
print(os.getpid(), flush=True)
def wait():
    print("here", flush=True)
    sys.stdin.readline()
{}
from avtrain.cli import main
main()
"""


def command(dataset, run, *options):
    return ["pretrain", str(dataset), "--run", str(run), *OPTIONS, *options]


def invoke(arguments):
    """The command in this process, with exit code and output."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def start_and_wait_at(point, arguments):
    """(a command in a process of its own, its process id), once it waits at the first of its points.

    A signal to that id has come before the next line can.
    """
    code = WAITING.format(point)
    process = subprocess.Popen(
        [*warm.python(), "-c", code, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    guard = threading.Timer(HANG_SECONDS, process.kill)
    guard.daemon = True
    guard.start()
    pid = int(process.stdout.readline())
    assert process.stdout.readline() == "here\n", process.communicate(timeout=HANG_SECONDS)
    return process, pid


def checkpoints(run):
    return sorted(path.name for path in run.glob("step_*"))


def losses(run):
    return [(line["step"], line["epoch"], line["loss"]) for line in run_folder.read_metrics(run)]


def ending(run):
    return json.loads((run / "exit.json").read_text())


@pytest.fixture(scope="module")
def uninterrupted(demo_dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = invoke(command(demo_dataset, run))
    assert done.exit_code == 0, done.output
    return run


def assert_same_run(run, uninterrupted):
    """Weights, optimiser and losses are those of the run that nothing stopped."""
    last = f"step_{STEPS:08d}"
    assert checkpoints(run) == checkpoints(uninterrupted) == ["step_00000020", last]
    for name in ("model.safetensors", "optim.safetensors", "meta.json"):
        assert (run / last / name).read_bytes() == (uninterrupted / last / name).read_bytes(), name
    assert [line[0] for line in losses(run)] == list(range(STEPS))
    assert losses(run) == losses(uninterrupted)
    assert ending(run) == {"status": "done", "code": 0, "sentence": ""}


def test_a_run_learns_and_keeps_its_books(uninterrupted, demo_dataset):
    saved = json.loads((uninterrupted / "config.json").read_text())
    assert saved["config"]["strategy"] == "soft-positive:p=0.5"
    assert saved["dataset_digest"] == Dataset(demo_dataset).digest
    assert "torch" in json.loads((uninterrupted / "env.json").read_text())
    written = losses(uninterrupted)
    assert [epoch for _, epoch, _ in written] == [step // 6 for step in range(STEPS)]
    assert np.isfinite([loss for _, _, loss in written]).all()
    before, after = (load_file(uninterrupted / name / "model.safetensors") for name in checkpoints(uninterrupted))
    unchanged = [name for name, tensor in before.items() if (tensor == after[name]).all()]
    assert unchanged == []


@pytest.mark.slow
@pytest.mark.parametrize("point", list(POINTS))
def test_a_run_that_was_killed_ends_with_the_same_bits(point, uninterrupted, demo_dataset, tmp_path):
    arguments = command(demo_dataset, tmp_path / "run")
    process, pid = start_and_wait_at(POINTS[point], arguments)
    os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == -signal.SIGKILL
    assert checkpoints(tmp_path / "run")[-1] == f"step_{CHECKPOINT_BEFORE:08d}"
    assert len(losses(tmp_path / "run")) > CHECKPOINT_BEFORE
    assert not (tmp_path / "run" / "exit.json").exists()
    again = invoke(arguments)
    assert again.exit_code == 0, again.output
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_a_run_that_was_asked_to_stop_saves_and_goes_on(uninterrupted, demo_dataset, tmp_path):
    run = tmp_path / "run"
    process, pid = start_and_wait_at(POINTS["between checkpoints"], command(demo_dataset, run))
    os.kill(pid, signal.SIGTERM)
    _, errors = process.communicate("\n", timeout=HANG_SECONDS)
    assert process.returncode == 75, errors
    assert "Traceback" not in errors
    assert f"checkpoint at step {STOP_STEP + 1} of {STEPS}" in errors
    assert checkpoints(run)[-1] == f"step_{STOP_STEP + 1:08d}"
    assert (ending(run)["status"], ending(run)["code"]) == ("interrupted", 75)
    done = invoke(command(demo_dataset, run))
    assert done.exit_code == 0, done.output
    assert_same_run(run, uninterrupted)


@pytest.mark.slow
def test_signals_that_come_again_and_again_change_nothing(demo_dataset, tmp_path):
    """As from schedulers and terminals, which tell a process and torchrun, which tells it again."""
    run = tmp_path / "run"
    process, pid = start_and_wait_at(AGAIN, command(demo_dataset, run))
    for sent, next_point in (
        ([signal.SIGTERM, signal.SIGTERM], "before the checkpoint gets its name"),
        ([signal.SIGINT, signal.SIGINT], "at exit"),
        ([signal.SIGTERM, signal.SIGINT], ""),
    ):
        for number in sent:
            os.kill(pid, number)
        process.stdin.write("\n")
        process.stdin.flush()
        assert not next_point or process.stdout.readline() == "here\n", next_point
    _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 75, errors
    assert "Traceback" not in errors
    assert f"checkpoint at step {STOP_STEP + 1} of {STEPS}" in errors
    assert checkpoints(run)[-1] == SAVED_AS_ASKED
    assert (ending(run)["status"], ending(run)["code"]) == ("interrupted", 75)


def test_a_run_that_is_done_stays_as_it_is(uninterrupted, demo_dataset):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.glob("step_*/*")}
    done = invoke(command(demo_dataset, uninterrupted))
    assert done.exit_code == 0, done.output
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.glob("step_*/*")} == before
    assert_same_run(uninterrupted, uninterrupted)


def test_a_run_of_other_settings_is_refused_with_the_difference(uninterrupted, demo_dataset):
    done = invoke(command(demo_dataset, uninterrupted, "--learning-rate", "0.5", "--seed", "3"))
    assert done.exit_code == 2
    assert "learning_rate: 0.001 -> 0.5\n  seed: 0 -> 3" in done.output
    assert ending(uninterrupted)["status"] == "done"
    assert checkpoints(uninterrupted)[-1] == f"step_{STEPS:08d}"


def test_a_run_of_another_dataset_is_refused(uninterrupted, short_dataset):
    done = invoke(command(short_dataset, uninterrupted))
    assert done.exit_code == 2
    assert "dataset_digest" in done.output


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("--batch-size", "49"), "A batch of 49 cannot be drawn from 48 clips"),
        (("--strategy", "hardest"), "There is no strategy 'hardest'; choose from random, easy-negative, "),
        (("--strategy", "soft-positive:p=2"), "probability"),
        (("--batch-size", "1"), "batch_size must be 2 or more, not 1."),
        (("--learning-rate", "0"), "learning_rate must be above 0"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_the_run_free_for_the_right_command(
    demo_dataset, tmp_path, wrong, sentence
):
    done = invoke(command(demo_dataset, tmp_path / "run", *wrong))
    assert done.exit_code == 2
    assert sentence in done.output
    assert len(done.output.splitlines()) == 1
    done = invoke(command(demo_dataset, tmp_path / "run", "--max-steps", "1"))
    assert done.exit_code == 0, done.output


def test_a_kill_in_the_first_moment_does_not_block_the_run(demo_dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.tmp").write_text("")
    done = invoke(command(demo_dataset, tmp_path / "run", "--max-steps", "1"))
    assert done.exit_code == 0, done.output


def test_a_folder_of_other_things_is_not_made_a_run(demo_dataset, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    done = invoke(command(demo_dataset, tmp_path))
    assert done.exit_code == 2
    assert "is not empty and holds no run" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_max_steps_ends_a_run_inside_an_epoch(demo_dataset, tmp_path):
    done = invoke(command(demo_dataset, tmp_path / "run", "--max-steps", "8"))
    assert done.exit_code == 0, done.output
    assert checkpoints(tmp_path / "run") == ["step_00000005", "step_00000008"]
    assert [line[0] for line in losses(tmp_path / "run")] == list(range(8))


@pytest.fixture
def loss_fails_at_step_7(monkeypatch):
    calls = []

    def failing(*arguments):
        calls.append(1)
        return info_nce(*arguments) * (float("nan") if len(calls) == 8 else 1)

    monkeypatch.setitem(LOSSES, "info-nce", failing)


@pytest.mark.usefixtures("loss_fails_at_step_7")
def test_a_loss_that_is_no_number_is_never_saved(demo_dataset, tmp_path):
    run = tmp_path / "run"
    done = invoke(command(demo_dataset, run))
    assert isinstance(done.exception, FloatingPointError)
    assert done.exit_code == 1
    assert "loss nan at step 7, epoch 1" in str(done.exception)
    assert checkpoints(run) == ["step_00000005"]
    assert (ending(run)["status"], ending(run)["code"]) == ("failed", 1)


def test_exit_json_speaks_of_the_last_process_only(demo_dataset, tmp_path, monkeypatch):
    """While a process works, and after a kill, there is no exit.json of an earlier one."""
    run = tmp_path / "run"
    assert invoke(command(demo_dataset, run, "--seed", "1")).exit_code == 0
    seen = []
    original = Reader.read_pairs

    def read_pairs(*arguments):
        seen.append((run / "exit.json").exists())
        original(*arguments)

    monkeypatch.setattr(Reader, "read_pairs", read_pairs)
    Path(run / "step_00000024" / "meta.json").unlink()
    assert invoke(command(demo_dataset, run, "--seed", "1")).exit_code == 0
    assert seen
    assert not any(seen)
    assert ending(run)["code"] == 0


def test_two_processes_do_not_train_one_run(demo_dataset, tmp_path):
    from avprep.shared.store import folder_lock
    from avtrain.config import PretrainConfig
    from avtrain.training.pretrain import pretrain

    config = PretrainConfig(model_size="tiny", batch_size=8, max_steps=1)
    pretrain(demo_dataset, tmp_path / "run", config, quiet=True)
    with folder_lock(tmp_path / "run", "training in"), pytest.raises(UserError, match="Another process is training"):
        pretrain(demo_dataset, tmp_path / "run", config, quiet=True)
