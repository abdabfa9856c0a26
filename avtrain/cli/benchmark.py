"""avtrain benchmark: an encoder on the tasks of leaderboards."""

from __future__ import annotations

from pathlib import Path

import click

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.errors import UserError
from avprep.shared.outputs import PathOrUrl
from avprep.shared.signals import stop_on_signals
from avtrain.cli.options import DIRECTORY, OUT_FOLDER, device_of, device_options, weights_option
from avtrain.config import SIDES


@click.command(cls=Command)
@click.argument("run", metavar="RUN", type=PathOrUrl(path_type=Path, file_okay=False))
@click.option(
    "--suite",
    type=click.Choice(["mteb", "xares", "hear"]),
    required=True,
    help="Whose tasks; each needs the extra of its name.",
)
@click.option(
    "--tasks",
    metavar="NAME|FILE",
    multiple=True,
    help="Task or mteb benchmark by name, package:name of your own, or a manifest of clips; may be repeated.",
)
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder for results.csv and results.html.")
@click.option(
    "--side",
    type=click.Choice(SIDES),
    default="audio",
    help="Encoder to measure; both: sounds and pictures in the common space, for mteb.",
)
@click.option(
    "--projection",
    is_flag=True,
    default=None,
    help="End with the encoder's layers into the common space, for mteb; default: its own features.",
)
@weights_option
@click.option(
    "--data", type=DIRECTORY, default=None, help="Folder of task data: audio tars of X-ARES, task folders of HEAR."
)
@click.option("--download", is_flag=True, help="Let mteb and X-ARES fetch data that is not on this machine.")
@click.option("--batch-size", type=click.IntRange(1), default=16, help="Sounds or clips encoded at once.")
@json_option
@device_options
def benchmark(
    run: Path | str,
    suite: str,
    tasks: tuple[str, ...],
    out: Path,
    side: str,
    projection: bool | None,
    weights: str,
    data: Path | None,
    download: bool,
    batch_size: int,
    device: str,
    threads: int | None,
) -> None:
    """Tasks of mteb, X-ARES or HEAR for the encoder of RUN, by the suite's own code, as a table and a page.

    RUN is a run, a checkpoint or an exported encoder. The same command goes on after an interruption and with further
    tasks: one that has run is not run again.
    """
    from avtrain.adapters.benchmark.run import PAGE, TABLE
    from avtrain.adapters.benchmark.run import benchmark as measure
    from avtrain.adapters.benchmark.settings import Settings

    settings = Settings(
        suite=suite,
        run=str(run),
        side=side,
        projection=projection,
        weights=weights,
        device=device_of(device, threads),
        threads=threads,
        batch_size=batch_size,
        data=str(data or ""),
        download=download,
    )
    with stop_on_signals() as request:
        done = measure(run, out, tasks, settings, lambda: bool(request))
    lines = [f"{one['task']}: {one['metric']} {one['score']:.4f}" for one in done.results]
    answer(done, [*lines, f"{out / TABLE}, {out / PAGE}"])
    if done.failures:
        name, why = next(iter(done.failures.items()))
        raise UserError(f"{len(done.failures)} of the tasks did not run, {name} among them ({why}).")
