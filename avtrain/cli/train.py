"""avtrain plan and pretrain: what the batches will be, and the run itself."""

from __future__ import annotations

from pathlib import Path

import click

from avprep.shared.commands import config_option, stop_on_signals
from avprep.shared.errors import Interrupted, UserError
from avtrain.cli.options import (
    DIRECTORY,
    PRETRAIN,
    cache_of,
    cache_options,
    dataset_of,
    device_of,
    device_options,
    sampling_options,
)
from avtrain.config import MODEL_SIZES, PlanConfig, PretrainConfig

PLAN = PlanConfig()


@click.command()
@click.argument("dataset", metavar="DIR", type=dataset_of)
@sampling_options
@click.option("--split", default=PLAN.split, help="Split whose clips are paired.")
@click.option("--world-size", type=int, default=PLAN.world_size, help="Ranks that share a batch.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(dataset: Path | str, as_json: bool, **settings: object) -> None:
    """Say what the batches of a pretraining run on dataset DIR will be; reads no media."""
    import json

    from avprep.dataset import Dataset
    from avtrain.plan import printed, survey

    found = survey(Dataset(dataset), PlanConfig(**settings))  # type: ignore[arg-type]
    click.echo(json.dumps(found, indent=2) if as_json else printed(found))


@click.command()
@click.argument("dataset", metavar="DIR", type=dataset_of)
@click.option("--run", type=DIRECTORY, required=True, help="Run folder; a run that is there is resumed.")
@sampling_options
@click.option("--model-size", type=click.Choice(MODEL_SIZES), default=PRETRAIN.model_size)
@click.option("--max-steps", type=int, default=PRETRAIN.max_steps, help="Stop after this many updates; 0: no limit.")
@click.option("--learning-rate", type=float, default=PRETRAIN.learning_rate)
@click.option("--weight-decay", type=float, default=PRETRAIN.weight_decay)
@click.option("--temperature", type=float, default=PRETRAIN.temperature)
@click.option("--checkpoint-every-steps", type=int, default=PRETRAIN.checkpoint_every_steps)
@click.option("--keep-checkpoints", type=int, default=PRETRAIN.keep_checkpoints)
@click.option("--spec-augment", is_flag=True, default=PRETRAIN.spec_augment, help="Mask bands and times of the sound.")
@cache_options
@device_options
@config_option()
def pretrain(
    dataset: Path | str,
    run: Path,
    device: str,
    threads: int | None,
    cache: Path | None,
    cache_bytes: int,
    **settings: object,
) -> None:
    """Train both encoders on the train split of dataset DIR; the same command resumes."""
    from avtrain import rundir
    from avtrain.pretrain import pretrain as train

    config = PretrainConfig(**settings)  # type: ignore[arg-type]
    try:
        with stop_on_signals() as request:
            result = train(
                dataset,
                run,
                config,
                device=device_of(device, threads),
                cache=cache_of(dataset, cache, cache_bytes),
                stopping=lambda: bool(request),
            )
    except BaseException as error:
        status, code = "failed", 1
        if isinstance(error, (Interrupted, KeyboardInterrupt)):
            status, code = "interrupted", 75
        elif isinstance(error, UserError):
            status, code = "user-error", 2
        if (run / rundir.CONFIG).exists():
            rundir.write_exit(run, status, code, str(error))
        raise
    rundir.write_exit(run, "done", 0)
    click.echo(
        f"{run}: {result.steps} updates, loss {result.last_loss:.3f} in the last epoch, "
        f"{result.pairs_per_second:.0f} pairs/s, {100 * result.waited_share:.1f} % of the time waiting for data"
    )
