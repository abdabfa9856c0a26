"""All commands of both packages, by the words that call them."""

from __future__ import annotations

from collections.abc import Iterator

import click

import avprep.cli
import avtrain.cli


def commands() -> Iterator[tuple[str, click.Command]]:
    """Each command that is no group."""
    for name, group in (("avprep", avprep.cli.main), ("avtrain", avtrain.cli.main)):
        yield from _below(name, group)


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for word, child in command.commands.items():
            yield from _below(f"{name} {word}", child)
    else:
        yield name, command
