"""What a terminal shows: completion in a real shell, the next command, JSON alone, colour where it is wanted."""

from __future__ import annotations

import json
import logging
import os
import pty
import shlex
import shutil
import subprocess

import click
import pytest
from click.testing import CliRunner

from avprep.cli.next_steps import NEXT as OF_AVPREP
from avprep.shared import answers, commands
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


def test_what_takes_a_moment_reports_no_progress(capsys):
    for seconds in (0.0, 60.0):
        with commands.Progress(4, "clips", "features", from_seconds=seconds) as progress:
            progress.advance(4)
    assert capsys.readouterr().err.count("features: 4/4 clips") == 1
