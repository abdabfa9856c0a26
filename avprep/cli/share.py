"""avprep card, publish: a dataset for others."""

from __future__ import annotations

from pathlib import Path

import click

from avprep.cli.types import DIRECTORY, FILE
from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.text import readable_bytes


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option(
    "--license",
    required=True,
    metavar="NAME",
    help="Licence of the dataset: a name of the hub such as cc-by-4.0, the address of its text, or unknown.",
)
@click.option("--name", default="", help="Title; default: the folder's name.")
@click.option("--description", default="", help="A sentence or more; default: one of the counts.")
@click.option("--creator", default="", help="Who made the dataset: a person or a group.")
@click.option("--url", default="", help="Page of the dataset, https://...")
@click.option("--date", default="", help="Day of publication, YYYY-MM-DD.")
@click.option("--dataset-version", "version", default="", help="MAJOR.MINOR.PATCH of the dataset.")
@click.option("--citation", type=FILE, default=None, help="Text file: how to cite it, such as a BibTeX entry.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    help="Task category of the hub, may be repeated; default: audio-classification, with pictures also "
    "video-classification.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a README.md or croissant.json of somebody else, or one edited since."
)
@json_option
def card(
    dataset_dir: Path,
    license: str,
    name: str,
    description: str,
    creator: str,
    url: str,
    date: str,
    version: str,
    citation: Path | None,
    tasks: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Write a dataset card into DIR: README.md as the Hugging Face hub shows it, and Croissant metadata."""
    from avprep.shared.cards import citation_of
    from avprep.sharing.card import write_card
    from avprep.sharing.config import CardConfig

    config = CardConfig(
        license=license,
        name=name,
        description=description,
        creator=creator,
        url=url,
        date=date,
        version=version,
        citation=citation_of(citation),
        tasks=tasks,
    )
    written = write_card(dataset_dir, config, overwrite)
    facts = written.facts
    values = {"readme": written.readme, "croissant": written.croissant, "clips": facts.clips}
    line = (
        f"{written.readme}, {written.croissant.name}: {facts.clips} clips of {len(facts.classes)} classes, "
        f"{readable_bytes(facts.bytes)}, licence {license}"
    )
    answer(values | {"classes": len(facts.classes), "bytes": facts.bytes, "license": license}, [line])


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.argument("target", metavar="hf://datasets/ORG/NAME")
@click.option("--public", is_flag=True, help="A repository that is new is public; default: private.")
@click.option(
    "--include-excluded", is_flag=True, help="Also publish shards that may hold clips which 'avprep exclude' took out."
)
@json_option
def publish(dataset_dir: Path, target: str, public: bool, include_excluded: bool) -> None:
    """Upload the dataset DIR and its card to the Hugging Face hub; the same command goes on (extra 'hub')."""
    from avprep.sharing.publish import absolute_paths
    from avprep.sharing.publish import publish as upload

    done = upload(dataset_dir, target, public=public, include_excluded=include_excluded)
    shown = absolute_paths(dataset_dir)
    lines = [f"{done.page}: {done.files} files, {readable_bytes(done.bytes)} uploaded, {done.kept} were there"]
    if shown:
        note = f"note: {shown} clips name their source by an absolute path of this machine, which is published too"
        lines.insert(0, note)
    answer(done, lines)
