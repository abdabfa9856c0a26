"""How commands are called: -h, python -m, -q and -v, mistakes in one line that come before anything heavy is loaded."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import avprep.cli
import avtrain.cli
from avprep.shared.commands import Command, Progress
from tests.conftest import REPOSITORY
from tests.known_issues.command_lines import commands

GROUPS = {"avprep": avprep.cli.main, "avtrain": avtrain.cli.main}
HEAVY = {"torch", "numpy", "pyarrow", "av", "librosa", "sklearn", "fsspec", "ray"}


def invoke(line: str):
    package, *words = line.split()
    return CliRunner().invoke(GROUPS[package], words)


@pytest.fixture(autouse=True)
def usual_levels():
    """The levels of our loggers, which a command sets, as they were."""
    before = {name: logging.getLogger(name).level for name in ("avprep", "avtrain", "")}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_of_every_command_and_group(option):
    for name in [*(name for name, _ in commands()), "avprep", "avtrain", "avprep manifest", "avtrain reproduce"]:
        done = invoke(f"{name} {option}")
        assert done.exit_code == 0, f"{name}: {done.output}"
        assert done.output.startswith("Usage:"), f"{name}: {done.output}"


def test_a_command_that_was_parsed_on_its_own_keeps_h():
    """click caches a command's help option with the names that the first context gave it."""
    for name, command in commands():
        command.get_params(command.context_class(command, info_name=name))
        assert invoke(f"{name} -h").exit_code == 0, name


def test_every_command_has_the_common_options():
    for name, command in commands():
        assert isinstance(command, Command), name
        opts = [opt for param in command.params for opt in param.opts]
        assert len(opts) == len(set(opts)), name
        assert {"-q", "--quiet", "-v", "--verbose"} <= set(opts), name


@pytest.mark.parametrize("package", GROUPS)
def test_python_m(package):
    done = subprocess.run(
        [sys.executable, "-m", package, "--version"], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert avprep.__version__ in done.stdout
    assert f"python -m {package}" in done.stdout


def test_a_module_that_is_only_imported_runs_nothing():
    import avprep.__main__
    import avtrain.__main__

    assert avprep.__main__.main is avprep.cli.main
    assert avtrain.__main__.main is avtrain.cli.main


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "avtrain pretrain d --run r --batchsize 3",
            "No such option '--batchsize'; did you mean '--batch-size'? 'avtrain pretrain",
        ),
        ("avprep build-shards m.csv --ouput o", "No such option '--ouput'; did you mean '--out'?"),
        ("avprep --quite doctor", "No such option '--quite'; did you mean '--quiet'?"),
        ("avprep buildshards", "No such command 'buildshards'; did you mean 'build-shards'?"),
        ("avprep manifest foldr", "No such command 'foldr'; did you mean 'folder'?"),
        ("avtrain reproduce tabel1", "No such command 'tabel1'; did you mean 'table1'?"),
        ("avtrain xyz", "No such command 'xyz'; 'avtrain --help' lists what can be given."),
        ("avprep build-shards", "Missing argument 'MANIFEST'; 'avprep build-shards --help' lists what can be given."),
        ("avprep build-shards m.csv", "Missing option '--out'; 'avprep build-shards --help' lists"),
        (
            "avtrain plan d --epochs two",
            "Invalid value for '--epochs': 'two' is not a valid integer; 'avtrain plan --he",
        ),
        ("avprep demo o --kind x", "Invalid value for '--kind': 'x' is not one of 'shapes', 'av-digits'; "),
        ("avprep demo o --size 48", "--size is for --kind av-digits, not shapes; leave it out; 'avprep demo --help'"),
        ("avprep finalize d e", "Got unexpected extra argument"),
        ("avprep build-shards m.csv --out o --partition x", "Invalid value for --partition: 'x' is not I/N, such as"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(line, sentence):
    done = invoke(line)
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert sentence in done.output.replace("'main", f"'{line.split()[0]}")
    assert done.output.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "avtrain pretrain d --run r --batchsize 3",
        "avtrain pretrain d --run r --batch-size x",
        "avtrain pretrain",
        "avtrain evaluate d --protocol nothing",
        "avtrain embed d --run r --out clip.mp4",
        "avtrain xyz",
        "avtrain reproduce table1 --nothing",
        "avprep build-shards m.csv --ouput o",
        "avprep preview d --out page.png",
    ],
)
def test_a_mistake_in_the_call_comes_before_anything_heavy_is_loaded(line):
    package, *words = line.split()
    script = f"""
import json, sys
from {package}.cli import main
try:
    main({words!r}, prog_name="x")
except SystemExit as end:
    print(json.dumps([end.code, sorted(name.split(".")[0] for name in sys.modules)]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    code, loaded = json.loads(done.stdout)
    assert code == 2
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("line", ["avprep -q LOUD", "avprep LOUD -q", "avprep --quiet LOUD"])
def test_quiet(line, monkeypatch):
    assert printed(line, monkeypatch) == "WARNING avprep.test: a warning\nthe result\n"


@pytest.mark.parametrize("line", ["avprep -v LOUD", "avprep LOUD --verbose"])
def test_verbose(line, monkeypatch):
    found = printed(line, monkeypatch)
    assert "INFO avprep.test: a note\n" in found
    assert "DEBUG avprep.test: a detail\n" in found
    assert "INFO library: a note of a library\n" in found
    assert found.split("\n")[0].startswith("20")  # a date
    assert "x: 1/2 clips" in found


def test_usually(monkeypatch):
    found = printed("avprep LOUD", monkeypatch)
    assert found.startswith("INFO avprep.test: a note\nWARNING avprep.test: a warning\nx: 1/2 clips")
    assert "library" not in found
    assert "detail" not in found


def printed(line: str, monkeypatch) -> str:
    """What a command prints that reports on all levels."""

    @click.command("LOUD", cls=Command)
    def loud() -> None:
        log = logging.getLogger("avprep.test")
        log.debug("a detail")
        log.info("a note")
        log.warning("a warning")
        logging.getLogger("library").info("a note of a library")
        with Progress(2, "clips", "x") as progress:
            progress.advance()
        click.echo("the result")

    monkeypatch.setitem(avprep.cli.main.commands, "LOUD", loud)
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers.clear()  # pytest's, beside which a command has none of its own
    try:
        done = invoke(line)
    finally:
        root.handlers[:] = handlers
    assert done.exit_code == 0, done.output
    return done.output


def test_verbose_prints_where_an_error_arose(tmp_path):
    line = f"avprep inspect {tmp_path}"
    assert "Traceback" not in invoke(line).output
    done = invoke(f"{line} -v")
    assert done.exit_code == 2
    assert done.output.startswith("Traceback")
    assert done.output.splitlines()[-1].startswith(f"error: {tmp_path} holds no dataset")
