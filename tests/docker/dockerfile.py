"""A Dockerfile taken apart: stages, and in each its steps, as far as the files of docker/ go."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

OTHER_STEPS = ("WORKDIR", "COPY", "RUN", "ENV")
BIND = re.compile(r"--mount=type=bind,from=(\S+),source=(\S+),target=(\S+)\s+")


@dataclass(kw_only=True)
class Stage:
    """FROM `base` AS `name`, and what stands below it."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    """(instruction, its text) of those that change what later ones see"""
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def stages(path: Path) -> list[Stage]:
    """The stages of a Dockerfile, ARG's defaults filled in. Errors: ValueError where it has what is not known here."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "ARG":
            name, value = rest.split("=", 1)
            arguments[name] = value
        elif word == "FROM":
            base, *named = re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], rest).split()
            found.append(Stage(name=named[1] if named else "", base=base))
        elif word == "USER":
            found[-1].user = rest
        elif word == "ENTRYPOINT":
            found[-1].entrypoint = json.loads(rest)
        elif word == "CMD":
            found[-1].command = json.loads(rest)
        elif word in OTHER_STEPS:
            found[-1].steps.append((word, rest))
        else:
            raise ValueError(f"{path} has {word}, which is not known here")
    return found


def wanted(every: list[Stage], target: str) -> list[Stage]:
    """Stages that a target is made of, in their order: its own, its bases, and those from which it takes files."""
    names, waiting = set(), [target]
    by_name = {stage.name: stage for stage in every}
    while waiting:
        stage = by_name[waiting.pop()]
        names.add(stage.name)
        waiting += [name for name in [stage.base, *(bind[0] for bind in binds(stage))] if name in by_name]
    return [stage for stage in every if stage.name in names]


def binds(stage: Stage) -> list[tuple[str, str, str]]:
    """(stage, source, target) of what RUN mounts."""
    return [found for word, text in stage.steps if word == "RUN" for found in BIND.findall(text)]


def copied(text: str) -> tuple[list[str], str, str]:
    """(sources, destination, mode or nothing) of a COPY."""
    words = shlex.split(text)
    modes = [word.removeprefix("--chmod=") for word in words if word.startswith("--chmod=")]
    *sources, destination = [word for word in words if not word.startswith("--")]
    return sources, destination, modes[0] if modes else ""
