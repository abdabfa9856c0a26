"""Options that commands of both packages share."""

from __future__ import annotations

import click


def side_by_side_options(command: click.decorators.FC) -> click.decorators.FC:
    """--processes, --executor, --address."""
    for option in (
        click.option(
            "--address", default=None, help="Running Ray cluster, host:port or 'auto'; default: one is started here."
        ),
        click.option("--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True),
        click.option(
            "--processes",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            metavar="N",
            help="Processes that share the clips, with --device cuda each on a GPU of its own; of Ray: cores.",
        ),
    ):
        command = option(command)
    return command
