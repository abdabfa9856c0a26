"""Standard output and error that are closed, full, or cut off: no traceback, no lost work, no exit code 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset

pytestmark = pytest.mark.slow

READER_GONE = 141


@pytest.fixture(scope="module")
def manifest(sounds, tmp_path_factory) -> Path:
    """Two clips of sound, and one whose file is not there."""
    path = tmp_path_factory.mktemp("streams") / "m.csv"
    sound = sounds / "elec_beep.ogg"
    path.write_text(f"clip_id,label,audio_path\na,x,{sound}\nb,x,{sound}\nc,x,nothing.wav\n")
    return path


@pytest.fixture(scope="module")
def dataset(manifest) -> Path:
    build_shards(manifest, manifest.parent / "data", BuildConfig(), Limits())
    return manifest.parent / "data"


def shell(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """A script in which "$@" is the command line `words` of avprep, run by this Python."""
    command = [sys.executable, "-c", "from avprep.cli import main; main(prog_name='avprep')", *map(str, words)]
    return subprocess.run(["bash", "-c", script, "bash", *command], capture_output=True, text=True, check=False)


def test_a_reader_that_reads_one_line(dataset):
    done = shell('set -o pipefail; "$@" | true; echo "${PIPESTATUS[0]}"', "inspect", dataset)
    assert (done.stderr, done.stdout) == ("", f"{READER_GONE}\n")


def test_full_standard_output(dataset):
    done = shell('"$@" > /dev/full', "inspect", dataset)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: What the command prints could not be written to standard output (No space left on device)."
    ]


def test_closed_standard_output(dataset):
    done = shell('"$@" >&-', "inspect", dataset, "--json")
    assert done.returncode == 2
    assert done.stderr == "error: What the command prints could not be written to standard output (it is closed).\n"


def test_a_mistake_keeps_its_exit_code(tmp_path):
    assert shell('"$@" >&- 2>&-', "inspect", tmp_path).returncode == 2
    assert shell('"$@" 2> /dev/full', "inspect", tmp_path).returncode == 2


def test_a_command_that_prints_nothing_may_have_no_output(dataset):
    assert shell('"$@" >&- 2>&-', "inspect", dataset, "--help").returncode == 2  # the help is its result
    assert shell('"$@" 2>&-', "inspect", dataset).returncode == 0


@pytest.mark.parametrize("streams", ["2>&-", "<&- >&- 2>&-", "2>&1 | true"])
def test_a_build_goes_on_and_no_message_gets_into_its_files(streams, manifest, tmp_path):
    """A descriptor that is closed would be the next file's, and decoders write their complaints to number 2."""
    out = tmp_path / "out"
    slow = "import avprep.shared.commands as c; c.PLAIN_LINE_SECONDS = 0; from avprep.cli import main; main()"
    words = [sys.executable, "-c", slow, "build-shards", str(manifest), "--out", str(out), "--workers", "1"]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {streams}', "bash", *words], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert [row["reason"] for row in map(json.loads, (out / "failures.jsonl").read_text().splitlines())] == ["missing"]
    assert Dataset(out).clip_ids == ["a", "b"]
    verified = shell('"$@"', "verify", out)
    assert verified.returncode == 0, verified.stdout


def test_progress_does_not_go_to_standard_output_instead():
    script = (
        "import sys; sys.stderr = None\n"
        "import avprep.shared.commands as c; c.PLAIN_LINE_SECONDS = 0\n"
        "with c.Progress(2, 'clips', 'x') as progress: progress.advance()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_a_child_whose_reader_is_gone_does_its_work():
    script = """
import os, sys
from avprep.shared.processes import map_processes
from tests.known_issues.test_closed_streams import chatty
if __name__ == "__main__":
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 2)
    print(list(map_processes(chatty, [1, 2], 1, lambda: False)))
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=root,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[2, 4]\n")


def chatty(value: int) -> int:
    """Twice the value, after a word about it."""
    print("at work on", value, file=sys.stderr, flush=True)
    return 2 * value
