"""avtrain reproduce table1, table2: the published matrices, from the datasets' folders to tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from avprep.shared.commands import Command
from avtrain.cli.evaluate import evaluate
from avtrain.cli.options import DIRECTORY, FILE, OUT_FOLDER
from avtrain.cli.train import pretrain


def _whole(path: Path) -> Path:
    """The path from the root that a user's path means: steps are known by it."""
    return Path(os.path.abspath(path))


def call(words: Sequence[str]) -> None:
    """Run a command line of avprep or avtrain here; its errors are raised. (The groups turn them into exit codes.)"""
    import avprep.cli

    ours: dict[str, click.Command] = {"pretrain": pretrain, "evaluate": evaluate}
    command = (ours if words[0] == "avtrain" else avprep.cli.main.commands)[words[1]]
    with command.make_context(words[1], list(words[2:])) as context:
        command.invoke(context)


def _command(name: str, what: str) -> click.Command:
    """The command of one table."""

    @click.command(name, cls=Command, help=what)
    @click.option("--vggsound", type=DIRECTORY, default=None, help="VGGSound: mp4 files at any depth, vggsound.csv.")
    @click.option("--tau", type=DIRECTORY, default=None, help="TAU 2021: audio/, video/, evaluation_setup/.")
    @click.option("--fsd", type=DIRECTORY, default=None, help="FSDnoisy18k: FSDnoisy18k.meta/, .audio_train/ ...")
    @click.option("--out", type=OUT_FOLDER, required=True, help="Folder of all that is made.")
    @click.option("--pseudo-weights", type=FILE, default=None, help="EfficientNet-B0's weights, for PL-soft-positive.")
    @click.option("--seeds", default="0", help="Each row is trained with each: 0-2 or 0,5.")
    @click.option("--workers", type=click.IntRange(1), default=None, help="Decoding processes; default: all cores.")
    @click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
    @click.option("--config", type=FILE, default=None, help="JSON with other settings, as in OUT/settings.json.")
    @click.option("--dry-run", is_flag=True, help="Print every step, clips, disk, updates, hours; write nothing.")
    @click.option(
        "--emit",
        type=click.Choice(["slurm", "k8s"]),
        default=None,
        help=f"Write the jobs into ./{name}-slurm or ./{name}-k8s and end.",
    )
    def command(
        vggsound: Path | None,
        tau: Path | None,
        fsd: Path | None,
        out: Path,
        pseudo_weights: Path | None,
        seeds: str,
        workers: int | None,
        device: str,
        config: Path | None,
        dry_run: bool,
        emit: str | None,
    ) -> None:
        from avtrain.reproduce.tables.emit import write_jobs
        from avtrain.reproduce.tables.forecast import forecast
        from avtrain.reproduce.tables.matrix import Site, matrix_of
        from avtrain.reproduce.tables.page import write_table
        from avtrain.reproduce.tables.running import run
        from avtrain.reproduce.tables.settings import TABLES, read_settings
        from avtrain.training.every_run import seeds_of

        given = {"vggsound": vggsound, "tau2021": tau, "fsdnoisy18k": fsd}
        site = Site(
            roots={dataset: _whole(root) for dataset, root in given.items() if root is not None},
            out=_whole(out),
            pseudo_weights=pseudo_weights and _whole(pseudo_weights),
            seeds=tuple(seeds_of(seeds)),
            workers=workers,
            device=device,
        )
        whole = matrix_of(TABLES[name] if config is None else read_settings(config, name), site)
        if dry_run:
            click.echo("\n".join(forecast(whole, call)))
        elif emit is not None:
            click.echo(write_jobs(whole, emit, Path(f"{name}-{emit}"), config and _whole(config)))
        else:
            run(whole, call, after=lambda: write_table(whole))
            click.echo(write_table(whole))

    return command


table1 = _command("table1", "Table 1 of Wang et al. 2024: pretext on the balanced subset of VGGSound.")
table2 = _command("table2", "Table 2 of Wang et al. 2024: pretext on all of VGGSound.")
