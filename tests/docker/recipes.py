"""What the tests of docker/ share: linters, commands as click takes them, kustomizations rendered."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import avprep.cli
import avtrain.cli
from tests.conftest import REPOSITORY

DOCKER = REPOSITORY / "docker"
PROGRAMS = {"avprep": avprep.cli.main, "avtrain": avtrain.cli.main}
PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])


def tool(name: str) -> str:
    """The program of this name beside Python or on the PATH."""
    found = shutil.which(name, path=PATH)
    assert found, f"{name} is not installed: pip install '.[test]'"
    return found


def lint(*command: object) -> str:
    """What a linter says."""
    done = subprocess.run([tool(str(command[0])), *map(str, command[1:])], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def parsed(words: list[str]) -> dict[str, Any]:
    """The parameters that a command line of avprep or avtrain gives its sub-command. Errors: click.UsageError."""
    group: click.Group = PROGRAMS[words[0]]
    command = group.commands[words[1]]
    if isinstance(command, click.Group):
        command, words = command.commands[words[2]], words[1:]
    return command.make_context(command.name, words[2:]).params


def of_ours(words: list[str]) -> list[str]:
    """The part of a command line from avprep or avtrain on; empty where there is none."""
    places = [place for place, word in enumerate(words) if word in PROGRAMS]
    return words[places[0] :] if places else []


def rendered(folder: Path) -> list[dict[str, Any]]:
    """The objects that a kustomization comes to; the test is skipped where there is no kubectl."""
    if shutil.which("kubectl", path=PATH) is None:
        pytest.skip("no kubectl here, which renders kustomizations")
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def only(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of this kind and name."""
    (found,) = (one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def expanded(words: list[str], values: dict[str, str], pattern: str = r"\$\((\w+)\)") -> list[str]:
    """Words with each $(NAME) replaced. Errors: KeyError where a name is not in `values`."""
    return [re.sub(pattern, lambda found: values[found[1]], word) for word in words]
