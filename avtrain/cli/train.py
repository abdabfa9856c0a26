"""avtrain plan and pretrain: what the batches will be, and the run itself."""

from __future__ import annotations

import os
from pathlib import Path

import click

from avprep.shared.commands import config_option, stop_on_signals
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
from avtrain.config import LOSSES, MODEL_SIZES, PRECISIONS, SCHEDULES, PlanConfig, PretrainConfig

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
@click.option(
    "--video-model",
    default=PRETRAIN.video_model,
    help="In place of that size's: r2plus1d_18, r2plus1d_18_released, s3d ... or your own package:function.",
)
@click.option("--video-pool", default=PRETRAIN.video_pool, help="auto, average or max.")
@click.option(
    "--loss",
    type=click.Choice(LOSSES),
    default=PRETRAIN.loss,
    help="Pairs of one label: all negatives, none (mask), all positives (supcon).",
)
@click.option(
    "--val-every",
    type=int,
    default=PRETRAIN.val_every,
    help="Epochs between measurements (retrieval of classes) on the val split or --val-share; 0: none.",
)
@click.option("--max-steps", type=int, default=PRETRAIN.max_steps, help="Stop after this many updates; 0: no limit.")
@click.option("--learning-rate", type=float, default=PRETRAIN.learning_rate)
@click.option("--weight-decay", type=float, default=PRETRAIN.weight_decay)
@click.option("--temperature", type=float, default=PRETRAIN.temperature)
@click.option("--learn-temperature", is_flag=True, default=PRETRAIN.learn_temperature, help="Train it too.")
@click.option("--warmup-steps", type=int, default=PRETRAIN.warmup_steps, help="Updates until the full learning rate.")
@click.option("--schedule", type=click.Choice(SCHEDULES), default=PRETRAIN.schedule, help="Of the learning rate.")
@click.option(
    "--grad-clip-norm", type=float, default=PRETRAIN.grad_clip_norm, help="Longest gradient of an update; 0: no limit."
)
@click.option("--precision", type=click.Choice(PRECISIONS), default=PRETRAIN.precision, help="Of the encoders.")
@click.option("--compile", is_flag=True, default=PRETRAIN.compile, help="Train with torch.compile.")
@click.option("--checkpoint-every-steps", type=int, default=PRETRAIN.checkpoint_every_steps)
@click.option(
    "--keep-checkpoints", type=int, default=PRETRAIN.keep_checkpoints, help="Newest ones that stay, beside the best."
)
@click.option("--spec-augment", is_flag=True, default=PRETRAIN.spec_augment, help="Mask bands and times of the sound.")
@click.option("--tensorboard", is_flag=True, help="Write RUN/tensorboard too (extra tensorboard).")
@cache_options
@device_options
@config_option()
def pretrain(
    dataset: Path | str,
    run: Path,
    tensorboard: bool,
    device: str,
    threads: int | None,
    cache: Path | None,
    cache_bytes: int,
    **settings: object,
) -> None:
    """Train both encoders on the train split of dataset DIR, also under torchrun; the same command resumes."""
    from avtrain import rundir
    from avtrain.distributed import read_ranks
    from avtrain.outcome import failure_told
    from avtrain.pretrain import pretrain as train

    ranks = read_ranks(os.environ)
    if ranks.rank == 0:
        rundir.clear_exit(run)
    with failure_told(run, ranks):
        config = PretrainConfig(**settings)  # type: ignore[arg-type]
        place, kept = device_of(device, threads), cache_of(dataset, cache, cache_bytes)
    with stop_on_signals(patient=True) as request:
        result = train(
            dataset,
            run,
            config,
            device=place,
            ranks=ranks,
            cache=kept,
            stopping=lambda: bool(request),
            tensorboard=tensorboard,
        )
    if ranks.rank == 0:
        click.echo(
            f"{run}: {result.steps} updates, loss {result.last_loss:.3f} in the last epoch, "
            f"{result.pairs_per_second:.0f} pairs/s, {100 * result.waited_share:.1f} % of the time waiting for data"
        )
        if result.best is not None:
            click.echo(
                f"best in validation: update {result.best['step']}, at the end of epoch {result.best['epoch']}, "
                f"R@1 of the class {100 * result.best['class_recall_at_1']:.1f} %"
            )
