"""exit-as-told and train-node: the exit code that exit.json tells, and a SIGTERM that reaches the ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from tests.docker.recipes import DOCKER, PATH, lint

SCRIPTS = [DOCKER / "exit-as-told", DOCKER / "train-node", *sorted((DOCKER / "slurm").glob("*.sh"))]
DEADLINE_SECONDS = 120
TELLS = 'printf \'{"code": %s}\' "$2" > "$1/new" && mv "$1/new" "$1/exit.json"; exit "$3"'


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean_and_can_be_run(path):
    assert os.access(path, os.X_OK)
    assert lint("shellcheck", path) == ""


def run(*words):
    return subprocess.run([*map(str, words)], check=False, timeout=DEADLINE_SECONDS, env={**os.environ, "PATH": PATH})


@pytest.mark.parametrize(
    ("told", "code", "wanted"), [(0, 0, 0), (2, 1, 2), (75, 1, 75), (1, 1, 1), (0, 1, 1), ('"x', 1, 1)]
)
def test_the_code_is_that_of_exit_json(tmp_path, told, code, wanted):
    command = ["bash", "-c", TELLS, "tells", tmp_path, told, code]
    assert run(DOCKER / "exit-as-told", tmp_path, *command).returncode == wanted


@pytest.mark.parametrize("folder", ["there", "not-there"])
def test_an_old_or_missing_exit_json_does_not_count(tmp_path, folder):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "exit.json").write_text('{"code": 75}')
    assert run(DOCKER / "exit-as-told", tmp_path / folder, "bash", "-c", "exit 3").returncode == 1
    assert run(DOCKER / "exit-as-told", tmp_path / folder, "true").returncode == 0


def test_too_few_words_are_a_mistake_of_the_user(tmp_path):
    assert run(DOCKER / "exit-as-told", tmp_path).returncode == 2
    assert run(DOCKER / "train-node", 1, 1, "localhost:0", tmp_path).returncode == 2


def ended(process, ready, times=1, number=signal.SIGTERM):
    """The exit code after the signal, once the file `ready` is there."""
    begin = time.monotonic()
    while not ready.exists():
        assert process.poll() is None
        assert time.monotonic() < begin + DEADLINE_SECONDS
        time.sleep(0.02)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.1)
    return process.wait(DEADLINE_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_command_that_was_asked_to_stop_before_it_wrote_was_interrupted(tmp_path, number):
    command = ["bash", "-c", 'touch "$1"; exec sleep 60', "waits", tmp_path / "ready"]
    with subprocess.Popen([DOCKER / "exit-as-told", tmp_path, *command]) as process:
        assert ended(process, tmp_path / "ready", number=number) == 75


SAVES = """
trap 'sleep 0.5; printf "{\\"code\\": 75}" > "$RUN/exit.json"; exit 75' TERM
env > "$RUN/environment"; touch "$RUN/ready"
while true; do sleep 0.05; done
"""


@pytest.mark.slow
def test_a_stop_reaches_the_ranks_below_torchrun_and_their_checkpoint_is_waited_for(tmp_path):
    command = [DOCKER / "train-node", 1, 1, "localhost:0", tmp_path, "bash", "-c", SAVES]
    environ = {**os.environ, "PATH": PATH, "RUN": str(tmp_path)}
    with subprocess.Popen([*map(str, command)], env=environ) as process:
        assert ended(process, tmp_path / "ready", times=2) == 75
    assert json.loads((tmp_path / "exit.json").read_text()) == {"code": 75}
    lines = (tmp_path / "environment").read_text().splitlines()
    assert {"RANK=0", "WORLD_SIZE=1", f"TORCHELASTIC_RUN_ID={tmp_path.name}"} <= set(lines)
