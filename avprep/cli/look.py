"""avprep preview: looking at a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from avprep.cli.types import DIRECTORY, FILE


@click.command()
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--out", type=FILE, required=True, help="HTML page to write.")
@click.option(
    "--per-class",
    type=click.IntRange(1),
    default=None,
    help="Clips of each class; default: up to 4, fewer of many classes (about 150 clips in all).",
)
@click.option("--split", default=None, help="Show clips of this split alone.")
@click.option(
    "--root",
    type=DIRECTORY,
    default=None,
    help="Where relative source paths start (the manifest's folder); needed to hear the clips.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses the clips.")
def preview(
    dataset_dir: Path, out: Path, per_class: int | None, split: str | None, root: Path | None, seed: int
) -> None:
    """A self-contained HTML page: a few clips of each class to see and hear, counts, failures."""
    from avprep.preview.content import write_preview

    shown = write_preview(dataset_dir, out, per_class=per_class, split=split, root=root, seed=seed)
    heard = sum(clip.sound is not None for clip in shown.clips)
    size = out.stat().st_size / 1e6
    click.echo(f"{out}: {len(shown.clips)} clips, {heard} with sound, {size:.1f} MB")
