"""The rules of tests/boundaries.py hold, and each rule reports a small tree that breaks it."""

from __future__ import annotations

import importlib

import click
import pytest

import avprep.cli
import avtrain.cli
from tests.boundaries import (
    ORDER,
    PUBLIC,
    REPOSITORY,
    RULES,
    loaded_by_help,
    main,
    read,
    rooms,
)


def commands(command: click.Command, path: list[str]) -> list[list[str]]:
    """The words of a command and of all below it."""
    below = command.commands.items() if isinstance(command, click.Group) else ()
    return [path] + [words for name, child in below for words in commands(child, [*path, name])]


COMMANDS = [commands(avprep.cli.main, ["avprep"]), commands(avtrain.cli.main, ["avtrain"])]

BROKEN = [
    ("avprep imports avtrain", {"avprep/media/video.py": "from avtrain import config"}, "avtrain.config"),
    ("avprep imports avtrain", {"avprep/cli.py": "def run():\n    import avtrain.devices"}, "avtrain.devices"),
    (
        "avtrain takes more of avprep than it may",
        {"avtrain/runs/load.py": "from avprep.datasets import folder"},
        "load",
    ),
    ("avtrain takes more of avprep than it may", {"avtrain/cli/train.py": "import avprep.cli"}, "avprep.cli"),
    ("avtrain takes more of avprep than it may", {"avtrain/data/plans.py": "import avprep"}, "imports avprep"),
    (
        "import circle",
        {
            "avprep/media/probe.py": "import avprep.media.video",
            "avprep/media/video.py": "def lazily():\n    from avprep.media import probe",
        },
        "avprep.media.probe <-> avprep.media.video",
    ),
    (
        "import circle",
        {
            "avtrain/data/reader.py": "if TYPE_CHECKING:\n    from avtrain.data.loader import Loader",
            "avtrain/data/loader.py": "from avtrain.data.cache import x",
            "avtrain/data/cache.py": "from avtrain.data import reader",
        },
        "cache <-> avtrain.data.loader <-> avtrain.data.reader",
    ),
    (
        "import circle",
        {
            "avtrain/data/__init__.py": "HOMES = {'Reader': 'avtrain.data.reader'}",
            "avtrain/data/reader.py": "from avtrain.data import WIDTH",
        },
        "avtrain.data <-> avtrain.data.reader",
    ),
    ("import that points up", {"avprep/media/video.py": "from avprep.build.run import x"}, "avprep.build.run"),
    ("import that points up", {"avtrain/runs/load.py": "def f():\n    import avtrain.cli"}, "avtrain.cli"),
    ("import that points up", {"avtrain/models/heads.py": "import avtrain"}, "imports avtrain"),
    ("import that points up", {"avprep/new_wing.py": ""}, "avprep.new_wing: no wing"),
    ("library imported outside its part", {"avprep/verify/sources.py": "import av.error"}, "av.error"),
    ("library imported outside its part", {"avtrain/embed.py": "def f():\n    import librosa"}, "librosa"),
    ("library imported outside its part", {"avprep/labels/columns.py": "import torch"}, "torch"),
    ("sampling or schema imports more than it needs", {"avtrain/sampling/pairs.py": "import torch"}, "torch"),
    ("sampling or schema imports more than it needs", {"avtrain/sampling/pairs.py": "import time"}, "time"),
    ("sampling or schema imports more than it needs", {"avtrain/sampling/pairs.py": "import avtrain.data"}, "data"),
    ("sampling or schema imports more than it needs", {"avprep/schema.py": "import torch"}, "torch"),
    ("public module without __all__", {"avtrain/inference/__init__.py": "from avtrain import config"}, "inference"),
    (
        "environment of torchrun read outside distributed",
        {"avtrain/training/setup.py": "rank = os.environ['RANK']"},
        "RANK",
    ),
]
"""(the rule, the files of a small tree that breaks it, words of the report)"""


def plant(root, files):
    packages = {f"{package}/__init__.py": "__all__: list[str] = []" for package in ORDER}
    needed = {
        "avprep/build/run.py": "x = 0",
        "avprep/datasets/folder.py": "",
        "avtrain/cli/__init__.py": "",
        "avtrain/config.py": "",
        "avprep/media/__init__.py": "",
        "avtrain/data/__init__.py": "__all__: list[str] = []",
    }
    for path, text in {**packages, **needed, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@pytest.fixture(scope="module")
def house():
    return read(REPOSITORY)


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_holds(rule, house):
    assert RULES[rule](house) == []


@pytest.mark.parametrize(("rule", "files", "words"), BROKEN)
def test_a_tree_that_breaks_the_rule_is_reported(rule, files, words, tmp_path, capsys):
    plant(tmp_path, {})
    assert main(tmp_path) == 0
    plant(tmp_path, files)
    lines = RULES[rule](read(tmp_path))
    assert len(lines) == 1
    assert words in lines[0]
    capsys.readouterr()
    assert main(tmp_path) == 1
    assert lines[0] in capsys.readouterr().out


def test_every_rule_has_a_tree_that_breaks_it():
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_what_is_allowed_is_not_reported(tmp_path):
    plant(
        tmp_path,
        {
            "avtrain/embed.py": "from avprep import audio_features, schema\n__all__ = ['embed']",
            "avprep/audio_features.py": "from avprep.media.video import x",
            "avprep/schema.py": "import numpy\nimport pyarrow.parquet",
            "avprep/media/video.py": "import av",
            "avprep/cli.py": "def run():\n    import avprep.build.run\nDOCSTRING = 'avprep'",
            "avtrain/reproduce/demo.py": "from avprep.build.run import x",
        },
    )
    assert main(tmp_path) == 0


def test_relative_imports_are_refused(tmp_path):
    plant(tmp_path, {"avprep/media/video.py": "from . import probe"})
    with pytest.raises(ValueError, match="relative import"):
        read(tmp_path)


@pytest.mark.parametrize("program", COMMANDS, ids=["avprep", "avtrain"])
def test_help_loads_click_and_our_small_modules_alone(program):
    assert len(program) > 10
    assert loaded_by_help(REPOSITORY, program) == []


@pytest.mark.parametrize("line", ["import numpy", "import avprep.schema"], ids=["library", "ours"])
def test_a_command_whose_help_loads_more_is_reported(line, tmp_path):
    head = "import click\n@click.command()\ndef main():\n    'Nothing.'\n"
    plant(tmp_path, {"avprep/cli/__init__.py": head, "avprep/schema.py": "", "avprep/config.py": ""})
    assert loaded_by_help(tmp_path, [["avprep"]]) == []
    plant(tmp_path, {"avprep/cli/__init__.py": f"{line}\nimport avprep.config\n{head}"})
    assert f"avprep --help loads {line.split()[1]}" in loaded_by_help(tmp_path, [["avprep"]])


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_there(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        assert getattr(module, public) is not None


@pytest.mark.parametrize(("package", "most"), [("avprep", 20), ("avtrain", 18)])
def test_few_entries_at_the_top(package, most):
    assert rooms(REPOSITORY, package) <= most
