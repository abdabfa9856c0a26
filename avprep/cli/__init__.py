"""The avprep command, one file a family of sub-commands; heavy imports happen inside the command that needs them."""

from __future__ import annotations

import click

from avprep.cli.build import build_shards, demo, finalize
from avprep.cli.grow import append, exclude, merge
from avprep.cli.labels import add_labels, add_noise, pseudo_label, relabel, split
from avprep.cli.look import doctor, inspect, preview, verify
from avprep.cli.manifests import manifest
from avprep.cli.next_steps import NEXT
from avprep.cli.quality import duplicates, quality, select
from avprep.cli.share import card, publish
from avprep.shared import __version__
from avprep.shared.commands import Group
from avprep.shared.doctor import completion_command


@click.group(cls=Group, next_steps=NEXT, context_settings={"max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Labelled clips -> frames and log-mel spectrograms -> class-indexed WebDataset shards."""


BUILDING = (manifest, demo, build_shards, finalize)
GROWING = (append, merge)
LABELLING = (pseudo_label, add_labels, add_noise, relabel, split, exclude)
CHECKING = (quality, duplicates, select)
LOOKING = (verify, inspect, preview, doctor, completion_command("avprep"))
SHARING = (card, publish)
for command in (*BUILDING, *GROWING, *LABELLING, *CHECKING, *LOOKING, *SHARING):
    main.add_command(command)
