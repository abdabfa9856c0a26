"""The sub-commands that every program has: doctor, and completion for shells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command

if TYPE_CHECKING:
    from avprep.shared.machine import Finding

SHELLS = {
    "bash": 'add the line eval "$({0} completion bash)" to ~/.bashrc',
    "zsh": 'add the line eval "$({0} completion zsh)" to ~/.zshrc, after compinit',
    "fish": "{0} completion fish > ~/.config/fish/completions/{0}.fish",
}
"""how a shell learns what `completion` prints"""


def doctor_command(examine: Callable[[Sequence[Path]], list[Finding]]) -> click.Command:
    """The sub-command `doctor`, which prints what `examine` finds; given the folders whose disks are to be measured."""

    @click.command("doctor", cls=Command)
    @click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
    @json_option
    @click.pass_context
    def doctor(ctx: click.Context, folders: tuple[Path, ...]) -> None:
        """Print what is installed and what this machine gives; exit code 1 where something needed is missing.

        FOLDERs are those whose disks are measured; default: the one for temporary files and the present one.
        """
        from avprep.shared import machine

        findings = examine(folders)
        answer([dataclasses.asdict(one) for one in findings], [machine.as_lines(findings)])
        if machine.is_unusable(findings):
            ctx.exit(1)

    return doctor


def completion_command(program: str) -> click.Command:
    """The sub-command `completion`, which prints what has a shell complete the words of `program`."""

    @click.command("completion", cls=Command)
    @click.argument("shell", metavar="|".join(SHELLS), type=click.Choice(list(SHELLS)))
    @click.pass_context
    def completion(ctx: click.Context, shell: str) -> None:
        from click.shell_completion import get_completion_class

        kind = get_completion_class(shell)
        assert kind is not None
        script = kind(ctx.find_root().command, {}, program, f"_{program.upper()}_COMPLETE")
        click.echo(script.source_template % script.source_vars())

    how = "\n\n".join(f"{shell}: {text.format(program)}" for shell, text in SHELLS.items())
    completion.help = f"Print a script by which a shell completes commands, options and their values.\n\n{how}"
    return completion
