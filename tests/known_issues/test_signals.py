"""SIGHUP and SIGUSR1, a terminal's and Slurm's warnings, end a command as SIGTERM does: resumable, exit code 75."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from avprep.dataset import Dataset
from avprep.shared.processes import map_processes
from avtrain.cli import main
from tests import warm
from tests.train.forge import Forged, forge_dataset

pytestmark = pytest.mark.slow

WARNINGS = [signal.SIGHUP, signal.SIGUSR1]
TRAINING = ("--model-size=tiny", "--batch-size=4", "--max-steps=4", "--epochs=2", "--device=cpu", "--threads=1")
BUILD = """
import os, sys
from avprep.build import execute
from avprep.cli import main
build, number = execute.build_shard, int(sys.argv.pop(1))
def asked(*arguments):
    number and os.kill(os.getpid(), number)
    return build(*arguments)
execute.build_shard = asked
main()
"""
TRAIN = """
import os, sys
from avtrain.cli import main
from avtrain.data.augment import Augment
forward, number = Augment.forward, int(sys.argv.pop(1))
def asked(self, batch):
    number and batch.step == 1 and os.kill(os.getpid(), number)
    return forward(self, batch)
Augment.forward = asked
main()
"""
MEASURE = """
import os, sys
from avtrain.evaluation import evaluate
from avtrain.cli import main
number = int(sys.argv.pop(1))
def asked(*_):
    os.kill(os.getpid(), number)
    raise AssertionError("it goes on")
evaluate._measure = asked
main()
"""


def run(script: str, number: int, *words: object, before: str = "") -> subprocess.CompletedProcess[str]:
    """A command that gets the signal `number` in the middle of its work, 0: none; `before` is a line of shell."""
    command = [*warm.python(), "-c", script, str(number), *map(str, words)]
    return subprocess.run(
        ["bash", "-c", f'{before}\n"$@"', "bash", *command], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    clips = [Forged("ab"[row % 2], split) for row in range(8) for split in ("train", "test")]
    return forge_dataset(tmp_path_factory.mktemp("signals") / "data", clips, frame_size=32, mel_bands=32)


def train(dataset: Path, run: Path) -> list[str]:
    return ["pretrain", str(dataset), "--run", str(run), *TRAINING]


@pytest.mark.parametrize("number", WARNINGS)
def test_a_build_stops_and_goes_on(number, sounds, tmp_path):
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    rows = "".join(f"{label},x{label},{sounds / 'elec_beep.ogg'}\n" for label in "abcdef")
    manifest.write_text("clip_id,label,audio_path\n" + rows)
    words = ("build-shards", manifest, "--out", out, "--workers", 1)
    stopped = run(BUILD, number, *words)
    assert stopped.returncode == 75, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "discarded; the same command resumes the build" in stopped.stderr
    assert json.loads((out / "reports" / "build-0-of-1.json").read_text())["outcome"] == "interrupted"
    if number == signal.SIGHUP:  # what is left does not depend on the signal
        assert run(BUILD, 0, *words).returncode == 0
        assert len(Dataset(out)) == 6


@pytest.mark.parametrize("number", WARNINGS)
def test_training_stops_with_a_checkpoint_and_goes_on(number, dataset, tmp_path):
    words = train(dataset, tmp_path / "run")
    stopped = run(TRAIN, number, *words)
    assert stopped.returncode == 75, stopped.stderr
    assert "checkpoint at step 2 of 4" in stopped.stderr
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["status"] == "interrupted"
    if number == signal.SIGHUP:
        again = CliRunner().invoke(main, words)
        assert again.exit_code == 0, again.output


def test_what_nohup_ignores_stays_ignored(dataset, sounds, tmp_path):
    done = run(TRAIN, signal.SIGHUP, *train(dataset, tmp_path / "run"), before="trap '' HUP")
    assert done.returncode == 0, done.stderr
    (tmp_path / "m.csv").write_text(f"clip_id,label,audio_path\na,a,{sounds / 'elec_beep.ogg'}\n")
    words = ("build-shards", tmp_path / "m.csv", "--out", tmp_path / "out", "--workers", 1)
    done = run(BUILD, signal.SIGHUP, *words, before="trap '' HUP")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, *WARNINGS])
def test_a_command_that_cannot_stop_in_between_is_interrupted_too(number, dataset, tmp_path):
    """The sentence after `interrupted:` was empty, and a scheduler was not to know that it may try again."""
    options = ["--protocol=linear", "--model-size=tiny", "--out", tmp_path / "out", "--device=cpu"]
    stopped = run(MEASURE, number, "evaluate", dataset, *options)
    assert stopped.returncode == 75, stopped.stderr
    assert stopped.stderr.splitlines()[-1] == "interrupted: run the same command again"


def test_children_leave_the_signals_of_a_terminal_and_a_scheduler_to_their_parent():
    """Both reach all processes; a decoder that died of one would cost the clip in its hands."""
    assert sorted(map_processes(survive, [1, 2], 1, lambda: False)) == [1, 2]


def survive(value: int) -> int:
    """The value, unless one of the signals ends the process."""
    for number in (*WARNINGS, signal.SIGINT):
        os.kill(os.getpid(), number)
    return value
