"""avtrain compare, report and errors: runs beside each other, and what one of them predicts wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.errors import UserError
from avprep.shared.signals import stop_on_signals
from avprep.shared.text import readable_bytes
from avtrain.cli.options import DATASET, DIRECTORY, OUT_ERRORS, OUT_PAGE, device_of, device_options

ANY_PATH = click.Path(path_type=Path)
BETWEEN = "\0"


class Lists(Command):
    """A command whose --a and --b take all words up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        joined: list[str] = []
        for word in args:
            if len(joined) > 1 and joined[-2] in ("--a", "--b") and not word.startswith("-"):
                joined[-1] += BETWEEN + word
            else:
                joined.append(word)
        return super().parse_args(ctx, joined)


def paths_of(text: str) -> list[Path]:
    """The paths that Lists joined."""
    return [Path(word) for word in text.split(BETWEEN)]


@click.command(cls=Lists)
@click.argument("runs", metavar="RUN_A RUN_B ...", nargs=-1, type=ANY_PATH)
@click.option("--a", "base", metavar="RUN...", default=None, help="Seeds or folds of one kind of run.")
@click.option(
    "--b", "others", metavar="RUN...", multiple=True, help="Those of another, in the same order; may be repeated."
)
@click.option("--evaluation", default=None, help="Folder below RUN/eval, where a run has several.")
@click.option("--seed", type=int, default=0, help="Of the bootstrap.")
@json_option
def compare(
    runs: tuple[Path, ...],
    base: str | None,
    others: tuple[str, ...],
    evaluation: str | None,
    seed: int,
) -> None:
    """Runs against the first on the same test clips (bootstrap, McNemar); or groups of seeds or folds (paired t).

    RUN is a run, a folder of 'avtrain evaluate' or a predictions.parquet. Many comparisons are corrected by Holm.
    """
    from avtrain.evaluation.compare import compare_groups, compare_runs, printed, without_nan

    if base is not None or others:
        if runs:
            raise UserError("Give either runs or the groups --a and --b, not both.")
        compared = compare_groups(paths_of(base) if base else [], [paths_of(group) for group in others], evaluation)
    else:
        compared = compare_runs(runs, evaluation, seed)
    answer(without_nan(compared), [printed(compared)])


@click.command(cls=Command)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=ANY_PATH)
@click.option("--out", type=OUT_PAGE, required=True, help="The page, FILE.html.")
@click.option(
    "--data", "datasets", metavar="DIR", multiple=True, type=DATASET, help="Dataset of the runs; may be repeated."
)
@click.option("--folds", is_flag=True, help="Datasets of the same classes are folds of one measurement.")
@click.option("--title", default="Pretraining runs", help="Of the page.")
@click.option(
    "--watch",
    is_flag=True,
    help="Write the page of runs that go on again and again, until all have ended or Ctrl-C: curves, speed, pairs.",
)
@click.option(
    "--interval-seconds",
    type=click.FloatRange(1),
    default=10.0,
    help="For --watch: how often the runs are looked at, and the page loads itself again.",
)
@click.option(
    "--root",
    type=DIRECTORY,
    default=None,
    help="For --watch: where relative source paths start (the manifest's folder); needed to play the pairs.",
)
@json_option
@device_options
def report(
    runs: tuple[Path, ...],
    out: Path,
    datasets: tuple[Path | str, ...],
    folds: bool,
    title: str,
    watch: bool,
    interval_seconds: float,
    root: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """One self-contained page over many runs; the kind of the first is what others are held against.

    RUN is a run, a folder of runs of several seeds, or one of 'avtrain evaluate --out'. With --data the page also shows
    what the runs retrieve among test clips, and how their pairs were made. What is no run is skipped and named. With
    --watch it is a page on runs that go on.
    """
    if watch:
        if folds:
            raise UserError("--folds is of results, which --watch does not show; leave one of them out.")
        _watch(runs, out, datasets, title, interval_seconds, root)
        return
    of = click.get_current_context().get_parameter_source
    for name in ("interval_seconds", "root"):
        if of(name) is ParameterSource.COMMANDLINE:
            raise UserError(f"--{name.replace('_', '-')} is for --watch; give that too, or leave it out.")
    from avtrain.report import write_report

    chosen_device = device_of(device, threads)
    reported = write_report(runs, out, datasets=datasets, folds=folds, title=title, device=chosen_device)
    for sentence in reported.skipped:
        click.echo(f"skipped: {sentence}", err=True)
    size = out.stat().st_size
    values = {**dataclasses.asdict(reported), "path": out, "bytes": size}
    answer(values, [f"{reported.runs} runs, {reported.evaluations} evaluations, {readable_bytes(size)}: {out}"])


def _watch(
    runs: Sequence[Path],
    out: Path,
    datasets: Sequence[Path | str],
    title: str,
    interval_seconds: float,
    root: Path | None,
) -> None:
    """Write the page until the runs have ended, or until a signal asks to stop."""
    from avtrain.report.watch import watch

    click.echo(f"watching {len(runs)} runs in {out}; Ctrl-C ends it, the runs go on", err=True)
    with stop_on_signals() as stopping:
        ended = watch(
            runs,
            out,
            interval_seconds=interval_seconds,
            datasets=datasets,
            root=root,
            title=title,
            stopping=lambda: bool(stopping),
        )
    left = f"{ended.unfinished:,} of {ended.runs:,} runs go on" if ended.unfinished else "all runs have ended"
    values = {**dataclasses.asdict(ended), "path": out, "bytes": out.stat().st_size}
    answer(values, [f"{left}; {readable_bytes(values['bytes'])}: {out}"])


@click.command(cls=Command)
@click.argument("run", metavar="RUN", type=ANY_PATH)
@click.option("--data", "dataset", metavar="DIR", type=DIRECTORY, required=True, help="Dataset that was evaluated.")
@click.option("--out", type=OUT_ERRORS, required=True, help="The page, FILE.html.")
@click.option("--evaluation", default=None, help="Folder below RUN/eval, where a run has several.")
@click.option("--clips", type=click.IntRange(0), default=100, help="Most clips with a card, the worst first.")
@click.option(
    "--root",
    type=DIRECTORY,
    default=None,
    help="Where relative source paths start (the manifest's folder); needed to play the clips.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the map.")
@json_option
@device_options
def errors(
    run: Path,
    dataset: Path,
    out: Path,
    evaluation: str | None,
    clips: int,
    root: Path | None,
    seed: int,
    device: str,
    threads: int | None,
) -> None:
    """A page of the test clips that are predicted wrong, worst first, by pair of classes; and a map of all.

    RUN is a run, a folder of 'avtrain evaluate' or a predictions.parquet. The map is t-SNE of the features that were
    classified; the clip under the pointer is shown.
    """
    from avtrain.report.errors import write_errors

    made = write_errors(
        run,
        dataset,
        out,
        evaluation=evaluation,
        clips=clips,
        root=root,
        seed=seed,
        device=device_of(device, threads),
    )
    size = out.stat().st_size
    line = (
        f"{made.wrong:,} of {made.clips:,} test clips are predicted wrong; {made.shown:,} shown, {made.audible:,} with "
        f"sound; {made.mapped:,} on the map, {readable_bytes(size)}: {out}"
    )
    answer({**dataclasses.asdict(made), "path": out, "bytes": size}, [line])
