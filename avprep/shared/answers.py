"""How every command ends: what it has done as lines, or with --json as JSON; then the next useful command."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

AS_JSON = "avprep.json"
NextStep = str | Callable[[Mapping[str, Any]], str | None] | None
"""A command line with {parameters} of the command before it; or what makes one of them, None where there is none"""


def json_option(command: Any) -> Any:
    """--json of a command that ends with `answer`."""

    def note(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
        ctx.meta[AS_JSON] = given

    return click.option(
        "--json", is_flag=True, expose_value=False, callback=note, help="Print JSON.", show_default=False
    )(command)


def answer(values: Any, lines: Iterable[str]) -> None:
    """Print what a command has done: `lines`, or with --json `values`, a dataclass or values of JSON and paths."""
    ctx = click.get_current_context(silent=True)
    if ctx is None or not ctx.meta.get(AS_JSON):
        for line in lines:
            click.echo(line)
        return
    from avprep.shared.store import json_text

    plain = dataclasses.asdict(values) if dataclasses.is_dataclass(values) else values  # type: ignore[arg-type]
    click.echo(json_text(plain, indent=1, default=str))


def print_next(ctx: click.Context, steps: Mapping[str, NextStep]) -> None:
    """Print the next useful command, as `steps` have it by the words of the command that has ended.

    A note on standard error: none after -q, nor where JSON is printed or what was printed is lost.
    """
    words = words_of(ctx)
    step = steps.get(" ".join(words), steps.get(words[0]) if words else None)
    quiet = logging.getLogger("avprep").level > logging.INFO
    if step is None or quiet or ctx.meta.get(AS_JSON):
        return
    click.echo(nl=False)  # what the command has printed
    if getattr(sys.stdout, "failure", None) is not None:
        return
    line = next_line(step, ctx.params)
    if line is not None:
        click.echo(f"{coloured('next:', 'cyan')} {line}", err=True)


def next_line(step: NextStep, params: Mapping[str, Any]) -> str | None:
    """The command line of a step, its values quoted for a shell."""
    template = step(params) if callable(step) else step
    if template is None:
        return None
    return template.format_map({name: _quoted(value) for name, value in params.items()})


def words_of(ctx: click.Context) -> list[str]:
    """The words of a command after its program's: manifest, folder."""
    words: list[str] = []
    while ctx.parent is not None:
        words.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return words


def coloured(text: str, colour: str) -> str:
    """A text in colour, on a terminal alone (click sees to that), and not where NO_COLOR or TERM=dumb ask for none."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else click.style(text, fg=colour, bold=True)


def _quoted(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(map(_quoted, value))
    return shlex.quote(str(value)) if isinstance(value, (str, Path, int, float)) else ""
