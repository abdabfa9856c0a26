"""avtrain demo, bench, doctor: the whole path on synthetic clips, what this storage and this machine give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.doctor import doctor_command
from avprep.shared.signals import stop_on_signals
from avtrain.cli.options import OUT_FOLDER, PRETRAIN, cache_options, datasets_argument, window_options

if TYPE_CHECKING:
    from avprep.shared.machine import Finding


@click.command(cls=Command)
@click.argument("out", metavar="[OUT]", type=OUT_FOLDER, default=Path("demo-out"))
@click.option(
    "--instance-cue",
    type=click.FloatRange(0, 1),
    default=1.0,
    help="How strongly picture and sound of one clip share their instance.",
)
@click.option("--clips-per-class", type=click.IntRange(5, 10_000), default=64)
@click.option("--seeds", type=click.IntRange(1, 100), default=3, help="Training seeds a row.")
@click.option("--epochs", type=click.IntRange(1), default=60)
@click.option("--batch-size", type=click.IntRange(2), default=64)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the rendering.")
@click.option("--workers", type=click.IntRange(1), default=None, help="Processes; default: all cores.")
@json_option
def demo(
    out: Path,
    instance_cue: float,
    clips_per_class: int,
    seeds: int,
    epochs: int,
    batch_size: int,
    seed: int,
    workers: int | None,
) -> None:
    """Synthetic clips -> shards -> random and soft-positive pretraining -> linear probe -> table and report.html."""
    from avtrain.reproduce.demo import DemoSettings, printed, run_demo
    from avtrain.reproduce.demo_page import write_demo_page

    settings = DemoSettings(
        instance_cue=instance_cue,
        clips_per_class=clips_per_class,
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
    )
    with stop_on_signals() as request:
        rows = run_demo(out, settings, workers, lambda: bool(request))
    page = write_demo_page(out, settings, rows)
    note = f"The clips are synthetic and built to show the effect; {page} explains how."
    answer({"rows": rows, "page": page}, [printed(rows), note])


@click.command(cls=Command)
@datasets_argument
@click.option("--strategy", "strategies", multiple=True, help="One to measure; may be given more than once.")
@click.option("--batch-size", type=click.IntRange(1), default=PRETRAIN.batch_size, help="Pairs in a batch.")
@click.option("--batches", type=click.IntRange(1), default=20, help="Batches of a measurement.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="Measurements; their median is reported.")
@click.option(
    "--threads", type=click.IntRange(1), default=None, help="Reading and decoding threads. Default: cores, 32 at most."
)
@click.option("--prefetch", type=click.IntRange(1), default=2, help="Batches read ahead.")
@window_options
@click.option("--seed", type=int, default=PRETRAIN.seed)
@json_option
@cache_options
def bench(
    dataset: tuple[Path | str, ...],
    strategies: tuple[str, ...],
    threads: int | None,
    cache: Path | None,
    cache_bytes: int,
    **settings: float,
) -> None:
    """Pairs a second from where dataset DIR lies, beside bare reading and decoding; which step rate that feeds.

    Of several datasets, together, as pretrain reads them.
    """
    from avtrain.data.bench import BenchConfig, measure, printed
    from avtrain.data.cache import cache_for
    from avtrain.data.several import dataset_of
    from avtrain.devices import read_threads_of

    chosen = {"strategies": strategies} if strategies else {}
    config = BenchConfig(**chosen, threads=read_threads_of(threads), **settings)  # type: ignore[arg-type]
    measured = measure(dataset_of(dataset), config, cache_for(dataset, cache, cache_bytes))
    answer(measured, [printed(measured)])


def _examine(folders: Sequence[Path]) -> list[Finding]:
    from avtrain.doctor import examine

    return examine(folders)


doctor = doctor_command(_examine)
