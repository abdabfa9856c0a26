"""avprep append, merge, exclude: more clips for a dataset that is finished, several as one, clips out of it."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from avprep.cli.build import failed_lines
from avprep.cli.types import DIRECTORY, FILE, FILE_OR_URL, FOLDER_OR_URL, OUT_FOLDER_OR_URL
from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.signals import stop_on_signals


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=FOLDER_OR_URL)
@click.argument("manifest_file", metavar="MANIFEST", type=FILE_OR_URL)
@click.option(
    "--root", type=FOLDER_OR_URL, default=None, help="Where relative paths start; default: the manifest's folder."
)
@click.option("--workers", type=click.IntRange(1), default=None, help="Decoding processes; default: all cores.")
@click.option("--deadline-seconds", type=float, default=120.0, show_default=True, help="Time that one clip may take.")
@click.option("--max-clip-seconds", type=float, default=300.0, show_default=True, help="Longer clips fail as too-long.")
@click.option("--memory-bytes", type=int, default=1_500_000_000, show_default=True, help="Address space of a decoder.")
@click.option(
    "--max-consecutive-failures", type=int, default=50, show_default=True, help="Then the append stops; 0: never."
)
@click.option("--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", default=None, help="Running Ray cluster, host:port or 'auto'; default: one is started here.")
@click.option("--retry-failed", is_flag=True, help="Build the new shards again in which a clip failed.")
@click.option("--allow-local-paths", is_flag=True, help="A MANIFEST at a URL may name any file of this machine.")
@click.option("--dry-run", is_flag=True, help="Print what would come: clips, shards, classes; write nothing.")
@json_option
def append(
    dataset_dir: Path | str,
    manifest_file: Path | str,
    root: Path | str | None,
    workers: int | None,
    deadline_seconds: float,
    max_clip_seconds: float,
    memory_bytes: int,
    max_consecutive_failures: int,
    executor: str,
    address: str | None,
    retry_failed: bool,
    allow_local_paths: bool,
    dry_run: bool,
) -> None:
    """Add the clips of MANIFEST that the dataset DIR does not have, as new shards; the same command resumes.

    They are built with the options of the dataset. No byte of its shards changes, and it stays readable as it was until
    all new clips are there.
    """
    from avprep.build.append import append as grow
    from avprep.build.append import foresee
    from avprep.build.execute import Execution
    from avprep.build.run import default_workers
    from avprep.config import Limits

    if dry_run:
        seen = foresee(dataset_dir, manifest_file, root=root, allow_local_paths=allow_local_paths)
        lines = [
            f"{dataset_dir}: {seen.clips} clips would come in {seen.shards} shards; {seen.already} are there already",
            *(f"  {line}" for line in seen.findings),
        ]
        answer(seen, [*lines, *_new_classes(seen.new_classes)])
        return
    with stop_on_signals() as request:
        done = grow(
            dataset_dir,
            manifest_file,
            Limits(deadline_seconds=deadline_seconds, max_clip_seconds=max_clip_seconds, memory_bytes=memory_bytes),
            date=datetime.date.today().isoformat(),
            root=root,
            how=Execution(
                workers=workers or default_workers(),
                executor=executor,
                address=address,
                max_consecutive_failures=max_consecutive_failures,
            ),
            retry_failed=retry_failed,
            allow_local_paths=allow_local_paths,
            stopping=lambda: bool(request),
        )
    failed = sum(done.failures.values())
    lines = [
        f"{dataset_dir}: {done.clips} clips came in {done.shards} shards, {failed} failed; {done.already} were there "
        f"already; digest {done.digest[:16]}",
        *failed_lines(done.failed_clips, done.failures),
    ]
    lines += _new_classes(done.new_classes)
    lines += [
        f"  the new clips have no label in column {name!r}; make it again with --replace" for name in done.unlabelled
    ]
    answer(done, lines)


def _new_classes(names: list[str]) -> list[str]:
    return [f"  new classes: {', '.join(names)}"] if names else []


@click.command(cls=Command)
@click.argument("datasets", metavar="DIR...", nargs=-1, required=True, type=FOLDER_OR_URL)
@click.option("--out", type=OUT_FOLDER_OR_URL, required=True, help="Dataset folder to write.")
@click.option("--link", is_flag=True, help="Hard links in place of copies; they take no room.")
@json_option
def merge(datasets: tuple[Path | str, ...], out: Path | str, link: bool) -> None:
    """Make one dataset of two or more of the same features, without decoding; the same command resumes."""
    from avprep.build.merge import merge as join

    done = join(datasets, out, date=datetime.date.today().isoformat(), link=link)
    lines = [f"{out}: {done.clips} clips of {done.classes} classes in {done.shards} shards; digest {done.digest[:16]}"]
    if done.columns:
        lines.append(f"  label columns: {', '.join(done.columns)}")
    if done.unmeasured:
        lines.append(f"  no quality.parquet, since {done.unmeasured[0]} has none; 'avprep quality {out}' makes it")
    answer(done, lines)


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--ids", type=FILE, required=True, help="List of clip ids, one a line, or a table with clip_id.")
@click.option("--reason", required=True, help="Recorded in excluded.jsonl for each clip.")
@click.option(
    "--date", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Date for excluded.jsonl; default: today."
)
@json_option
def exclude(dataset_dir: Path, ids: Path, reason: str, date: datetime.datetime | None) -> None:
    """Take clips out of the index (takedowns); builds and finalize keep them out.

    The shards are not rewritten and still hold the clips.
    """
    from avprep.build.exclude import exclude as take_out
    from avprep.build.exclude import ids_to_exclude

    day = (date or datetime.datetime.now()).date().isoformat()
    done = take_out(dataset_dir, ids_to_exclude(dataset_dir, ids), reason, day)
    answer(done, [f"{dataset_dir}: {done.new} clips excluded, {done.already} already were; {done.left} clips left"])
