"""What a terminal shows: completion in a real shell, the next command, JSON alone, colour where it is wanted."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import shlex
import shutil
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

from avprep.cli.next_steps import NEXT as OF_AVPREP
from avprep.shared import answers, commands
from avprep.shared.waiting import waiting
from avtrain.cli.next_steps import NEXT as OF_AVTRAIN
from tests.docker.recipes import PATH, PROGRAMS, parsed
from tests.train.forge import Forged, forge_dataset

STEPS = {"avprep": OF_AVPREP, "avtrain": OF_AVTRAIN}
BASH = r"""
source /dev/stdin <<< "$(avprep completion bash)"
COMP_WORDS=({words}) COMP_CWORD={at}
_avprep_completion avprep
printf '%s\n' "${{COMPREPLY[@]}}"
"""
ZSH = r"""
autoload -Uz compinit && compinit -D
compdef() {{ :; }}
source <(avprep completion zsh)
words=({words}); CURRENT={at}
compadd() {{ print -l -- "$@" }}
_describe() {{ print -l -- "${{completions_with_descriptions[@]}}" }}
_avprep_completion
"""
FISH = """
avprep completion fish | source
complete -C '{line}'
"""


def run(program: str, *words: object):
    return CliRunner().invoke(PROGRAMS[program], list(map(str, words)))


def shell(*command: str) -> str:
    environ = {**os.environ, "PATH": PATH}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("avprep build-", "build-shards"), ("avprep demo out --kind sh", "shapes")],
)
def test_bash_completes_commands_options_and_values(line, wanted):
    words = line.split()
    assert shell("bash", "-c", BASH.format(words=line, at=len(words) - 1)).split() == [wanted]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_completes_a_command():
    assert "build-shards" in shell("zsh", "-fc", ZSH.format(words="avprep build-", at=2))


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes_a_command():
    assert "build-shards" in shell("fish", "--no-config", "-c", FISH.format(line="avprep build-"))


def test_completion_of_another_shell_is_refused():
    done = run("avprep", "completion", "tcsh")
    assert done.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.stderr


@pytest.mark.parametrize("program", STEPS)
def test_every_command_has_a_next_step_or_none_and_they_parse(program):
    group = PROGRAMS[program]
    assert STEPS[program].keys() == group.commands.keys()
    for name, step in STEPS[program].items():
        for command in getattr(group.commands[name], "commands", {"": group.commands[name]}).values():
            for more in ({}, dict.fromkeys(("name", "surplus", "target", "run", "seeds"), "0-4")):
                line = answers.next_line(step, defaults_of(command) | more)
                if line is not None:
                    parsed(shlex.split(line))


def defaults_of(command: click.Command) -> dict[str, object]:
    """The parameters of a command when as little as possible is given; `--others` of select."""
    context = click.Context(command)
    given = {
        param.name: f"x{(getattr(param.type, 'suffixes', ()) or ('',))[0]}"
        if param.required
        else param.get_default(context)
        for param in command.params
    }
    params = {name: None if "UNSET" in repr(value) else value for name, value in given.items()}
    return params | {"others": "x"}


def test_a_command_ends_with_the_next_one_unless_it_is_quiet_or_prints_json(tmp_path):
    folder = forge_dataset(tmp_path / "my data", [Forged("a"), Forged("b", "test")])
    done = run("avprep", "finalize", folder)
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[-1] == f"next: avprep verify '{folder}'"
    assert "next:" not in done.stdout
    done = run("avprep", "finalize", folder, "--json")
    assert "next:" not in done.stderr
    assert json.loads(done.stdout) == {"clips": 2, "failures": {}, "first_failures": [], "emptied": {}}
    assert "next:" not in run("avprep", "finalize", folder, "-q").stderr
    logging.getLogger("avprep").setLevel(logging.INFO)


def test_a_manifest_as_json_has_what_is_odd_about_it(tmp_path):
    (tmp_path / "clips" / "x").mkdir(parents=True)
    (tmp_path / "clips" / "x" / "a.mp4").touch()
    done = run("avprep", "manifest", "folder", "--root", tmp_path / "clips", "--out", tmp_path / "m.csv", "--json")
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout)
    assert (written["clips"], written["path"]) == (1, str(tmp_path / "m.csv"))
    assert written["findings"]


WITHOUT_JSON = {"avprep completion", "avtrain completion", "avtrain reproduce table1", "avtrain reproduce table2"}
"""what prints a script, or the steps of days of work"""


def test_every_command_can_print_json():
    without = set()
    for program, group in PROGRAMS.items():
        for name, command in group.commands.items():
            for words, one in getattr(command, "commands", {"": command}).items():
                if not any("--json" in param.opts for param in one.params):
                    without.add(f"{program} {name} {words}".strip())
    assert without == WITHOUT_JSON


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A dataset, a table of labels and one of new names of classes."""
    folder = tmp_path_factory.mktemp("pets")
    data = forge_dataset(folder / "pets", [Forged("ab"[row % 2], ("train", "test")[row % 3 == 2]) for row in range(12)])
    (folder / "own.csv").write_text("clip_id,label\n" + "".join(f"c{row},x\n" for row in range(11)))
    (folder / "map.csv").write_text("from,to\nb,\n")
    return data


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("avprep inspect DIR", {"finished": True, "num_classes": 2}),
        ("avprep quality DIR --workers 1", {"clips": 12}),
        (
            "avprep add-labels DIR DIR/../own.csv --name own",
            {"labelled": 11, "unlabelled": 1, "classes": 1, "unused": 0},
        ),
        (
            "avprep add-noise DIR --share 0.5 --name noisy",
            {"labelled": 12, "unlabelled": 0, "classes": 2, "changed": 4},
        ),
        ("avprep relabel DIR --map DIR/../map.csv --name one", {"classes": 1, "dropped": ["b"], "lost": 6, "after": 1}),
        ("avprep split DIR --folds 3", {"sizes": [4, 4, 4], "kept": 0}),
        ("avprep preview DIR --out DIR/../preview.html", {"clips": 8, "with_sound": 0}),
        ("avprep card DIR --license mit", {"clips": 12, "classes": 2, "license": "mit"}),
        ("avtrain hide-labels DIR --share 0.5 --name few", {"left": 4, "before": 8}),
        ("avtrain plan DIR --batch-size 2 --epochs 1", {"pairs_per_batch": {"smallest": 2, "mean": 2.0, "largest": 2}}),
    ],
)
def test_json_is_all_that_is_printed(pets, line, wanted):
    done = run(*line.replace("DIR", str(pets)).split(), "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    values = json.loads(done.stdout)
    assert {name: values[name] for name in wanted} == wanted
    assert "next:" not in done.stderr


def test_an_error_is_red_on_a_terminal_alone(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for environ, red in (({}, True), ({"NO_COLOR": "1"}, False)):
        assert (b"\x1b[31m" in on_terminal(environ)) is red
    assert "\x1b" not in run("avprep", "inspect", "nowhere").stderr


def on_terminal(environ: dict[str, str]) -> bytes:
    """What a command that fails prints on a terminal."""
    master, terminal = pty.openpty()
    words, environ = ["avprep", "no-such"], {**os.environ, "PATH": PATH, **environ}
    subprocess.run(words, env=environ, stdout=terminal, stderr=terminal, stdin=terminal, check=False)
    os.close(terminal)
    printed = b""
    try:
        while block := os.read(master, 4096):
            printed += block
    except OSError:  # Linux: the terminal's other end is closed
        pass
    os.close(master)
    return printed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (90_000, "25 h 00 min")],
)
def test_lengths_of_time_are_readable(seconds, text):
    assert commands.duration(seconds) == text


def test_a_long_step_reports_how_long_it_takes_unless_it_is_quiet(capsys, monkeypatch):
    for quiet in (False, True):
        with waiting("ONNX graph", quiet, every_seconds=0.01):
            deadline = time.monotonic() + 60
            while not quiet and "so far" not in (printed := capsys.readouterr().err) and time.monotonic() < deadline:
                time.sleep(0.01)
    assert printed.startswith("ONNX graph: 0 s so far\n")
    assert capsys.readouterr().err.count("so far") <= 1  # of the moment before the first block ended


def test_a_long_step_has_a_clock_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr("avprep.shared.waiting.FROM_SECONDS", 0.0)
    with waiting("map"):
        deadline = time.monotonic() + 60
        while "map: 00:0" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "map: 00:0" in terminal.getvalue()


def test_joining_a_dataset_shows_progress(tmp_path, monkeypatch):
    shown: list[tuple[str, int, int]] = []
    monkeypatch.setattr(commands.Progress, "__exit__", lambda own, *_: shown.append((own.title, own.done, own.total)))
    forge_dataset(tmp_path / "pets", [Forged("a"), Forged("b", "test")])
    assert shown == [("join", 2, 2)]


def test_what_takes_a_moment_reports_no_progress(capsys):
    for seconds in (0.0, 60.0):
        with commands.Progress(4, "clips", "features", from_seconds=seconds) as progress:
            progress.advance(4)
    assert capsys.readouterr().err.count("features: 4/4 clips") == 1
