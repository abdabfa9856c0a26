"""The avtrain command, one file a family of sub-commands; heavy imports happen inside the command that needs them."""

from __future__ import annotations

import click

from avprep.shared import __version__
from avprep.shared.commands import Group
from avprep.shared.doctor import completion_command
from avtrain.cli.benchmark import benchmark
from avtrain.cli.evaluate import evaluate
from avtrain.cli.export import embed, export
from avtrain.cli.next_steps import NEXT
from avtrain.cli.report import compare, errors, report
from avtrain.cli.reproduce import reproduce
from avtrain.cli.stages import clean_labels, cluster, hide_labels, neighbours, propagate_labels
from avtrain.cli.tools import bench, demo, doctor
from avtrain.cli.train import average, import_released, plan, pretrain


@click.group(cls=Group, next_steps=NEXT, context_settings={"max_content_width": 100, "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """Class-indexed shards -> audio-visual encoders -> tables."""


for command in (
    plan,
    pretrain,
    average,
    import_released,
    clean_labels,
    propagate_labels,
    hide_labels,
    neighbours,
    cluster,
    evaluate,
    compare,
    report,
    errors,
    embed,
    export,
    benchmark,
    demo,
    reproduce,
    bench,
    doctor,
    completion_command("avtrain"),
):
    main.add_command(command)
