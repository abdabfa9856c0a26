"""avprep verify, inspect, preview, doctor: what a dataset is worth, what is in it, what this machine can do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avprep.cli.types import DIRECTORY, OUT_PAGE
from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.doctor import doctor_command
from avprep.shared.text import readable_bytes

if TYPE_CHECKING:
    from avprep.shared.machine import Finding

SHOWN_PROBLEMS = 100


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--workers", type=click.IntRange(1), default=None, help="Threads that read and hash; default: all cores.")
@click.option("--decode", is_flag=True, help="Also decode some clips of each shard again and compare the bytes.")
@click.option(
    "--root",
    type=DIRECTORY,
    default=".",
    help="For --decode: where relative paths of the manifest start; default: here.",
)
@click.option(
    "--decode-per-shard", type=click.IntRange(1), default=1, show_default=True, help="Clips of a shard for --decode."
)
@json_option
@click.pass_context
def verify(
    ctx: click.Context, dataset_dir: Path, workers: int | None, decode: bool, root: Path, decode_per_shard: int
) -> None:
    """Check every byte of the dataset DIR; exit code 1 where something is wrong."""
    from avprep.build.run import default_workers
    from avprep.schema import repair_command
    from avprep.verify.dataset import verify as check
    from avprep.verify.sources import Sources

    begin = time.monotonic()
    sources = Sources(root, decode_per_shard) if decode else None
    findings = check(dataset_dir, workers or default_workers(), sources)
    seconds = time.monotonic() - begin
    lines = [*(f"note: {note}" for note in findings.notes), *findings.problems[:SHOWN_PROBLEMS]]
    if len(findings.problems) > SHOWN_PROBLEMS:
        lines.append(f"and {len(findings.problems) - SHOWN_PROBLEMS} more problems")
    count = len(findings.problems)
    verdict = f"{count} {'problem' if count == 1 else 'problems'}" if count else "all is as it was built"
    lines.append(
        f"{dataset_dir}: {verdict}; {findings.shards} shards, {findings.clips} clips, {readable_bytes(findings.bytes)} "
        f"read in {seconds:.1f} s"
    )
    if findings.problems:
        lines.append(
            "to repair: delete the files below shards/ that are named here, a tar with its .json, and build them again "
            f"(CLIPS: where the manifest's relative paths start):\n  {repair_command(dataset_dir)}"
        )
    counts = {name: getattr(findings, name) for name in ("shards", "clips", "bytes", "problems", "notes")}
    answer({**counts, "seconds": seconds}, lines)
    if findings.problems:
        ctx.exit(1)


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@json_option
def inspect(dataset_dir: Path) -> None:
    """Print what the dataset or unfinished build DIR holds; no shard is read."""
    from avprep.inspect import as_text
    from avprep.inspect import inspect as look

    facts = look(dataset_dir)
    answer(facts, as_text(facts))


def _examine(folders: Sequence[Path]) -> list[Finding]:
    from avprep.doctor import examine

    return examine(folders)


doctor = doctor_command(_examine)


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--out", type=OUT_PAGE, required=True, help="Page to write, FILE.html.")
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
    help="Where relative source paths start (the manifest's folder); needed to play the clips.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses the clips.")
@json_option
def preview(
    dataset_dir: Path, out: Path, per_class: int | None, split: str | None, root: Path | None, seed: int
) -> None:
    """A self-contained HTML page: a few clips of each class to look at and listen to, counts, failures."""
    from avprep.preview.content import write_preview

    shown = write_preview(dataset_dir, out, per_class=per_class, split=split, root=root, seed=seed)
    audible = sum(clip.sound is not None for clip in shown.clips)
    size = out.stat().st_size
    values = {"path": out, "clips": len(shown.clips), "with_sound": audible, "bytes": size}
    answer(values, [f"{out}: {len(shown.clips)} clips, {audible} with sound, {readable_bytes(size)}"])
