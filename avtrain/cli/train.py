"""avtrain plan, pretrain and import-released: what the batches will be, the run itself, weights of the authors'."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command, config_option
from avprep.shared.errors import UserError
from avprep.shared.waiting import waiting
from avtrain.cli.options import (
    DIRECTORY,
    FILE,
    OUT_FOLDER,
    OUT_FOLDER_OR_URL,
    PRETRAIN,
    augmentation_options,
    cache_options,
    datasets_argument,
    device_options,
    read_threads_option,
    sampling_options,
    window_options,
)
from avtrain.config import (
    FREEZES,
    JPEG_DECODERS,
    MODEL_SIZES,
    OPTIMIZERS,
    PRECISIONS,
    PROJECTIONS,
    SCHEDULES,
    PlanConfig,
)
from avtrain.config.rules import loss_usages

if TYPE_CHECKING:
    from avtrain.training.pretrain import PretrainResult

PLAN = PlanConfig()


@click.command(cls=Command)
@datasets_argument
@sampling_options
@window_options
@click.option("--split", default=PLAN.split, help="Split whose clips are paired.")
@click.option("--world-size", type=int, default=PLAN.world_size, help="Ranks that share a batch.")
@json_option
def plan(dataset: tuple[Path | str, ...], **settings: Any) -> None:
    """Print what the batches of a pretraining run on dataset DIR will be; reads no media.

    Of several datasets, DIR:0.5 has half of its clips in each epoch, DIR:2 each twice.
    """
    from avtrain.api.training import plan as survey
    from avtrain.data.survey_text import printed

    with waiting("plan"):
        surveyed = survey(dataset, **settings)
    answer(surveyed, [printed(surveyed)])


@click.command(cls=Command)
@datasets_argument
@click.option("--run", type=OUT_FOLDER_OR_URL, required=True, help="Run folder or URL; a run that is there is resumed.")
@sampling_options
@window_options
@click.option("--seeds", default=None, help="In place of --seed: 0-4 or 0,2,5, one after the other in RUN/seed-N.")
@click.option("--model-size", type=click.Choice(list(MODEL_SIZES)), default=PRETRAIN.model_size)
@click.option(
    "--video-model",
    default=PRETRAIN.video_model,
    help="In place of that size's: r2plus1d_18, r2plus1d_18_released, s3d ... or your own package:function.",
)
@click.option(
    "--video-weights",
    metavar="NAME|FILE",
    default=PRETRAIN.video_weights,
    help="Weights of torchvision's video model to begin with: KINETICS400_V1 or a file of them.",
)
@click.option("--video-pool", default=PRETRAIN.video_pool, help="auto, average or max.")
@click.option(
    "--audio-model",
    default=PRETRAIN.audio_model,
    help="In place of that size's: cnn9, tiny or your own package:function.",
)
@click.option(
    "--projection",
    type=click.Choice(PROJECTIONS),
    default=PRETRAIN.projection,
    help="Of features into the common space: one layer, or two with a ReLU between them (mlp).",
)
@click.option(
    "--projection-hidden",
    type=int,
    default=PRETRAIN.projection_hidden,
    help="Width between the layers of mlp; 0: that of the features.",
)
@click.option("--embedding-dim", type=int, default=PRETRAIN.embedding_dim, help="Width of the common space.")
@click.option(
    "--init-from",
    metavar="PATH",
    type=click.Path(),
    default=PRETRAIN.init_from,
    help="Run or checkpoint folder to take the weights of, or a published encoder at hf://ORG/NAME[@REVISION].",
)
@click.option(
    "--freeze", type=click.Choice(FREEZES), default=PRETRAIN.freeze, help="Encoder that keeps its first weights."
)
@click.option(
    "--frozen-windows",
    type=int,
    default=PRETRAIN.frozen_windows,
    help="Compute the features of the frozen encoder once, for so many windows of each clip; 0: in every epoch.",
)
@click.option(
    "--loss",
    default=PRETRAIN.loss,
    help=f"{' | '.join(loss_usages())}. Pairs of one label: all negatives (info-nce), none (mask), all positives "
    "(supcon).",
)
@click.option(
    "--val-every",
    type=int,
    default=PRETRAIN.val_every,
    help="Epochs between measurements (retrieval of classes) on the val split or --val-share; 0: none.",
)
@click.option(
    "--chunk-size",
    type=int,
    default=PRETRAIN.chunk_size,
    help="Pairs that a process encodes at once, with the negatives of the whole batch; less memory, more time; 0: all.",
)
@click.option("--max-steps", type=int, default=PRETRAIN.max_steps, help="Stop after this many updates; 0: no limit.")
@click.option(
    "--optimizer", type=click.Choice(OPTIMIZERS), default=PRETRAIN.optimizer, help="adamw: weight decay apart."
)
@click.option("--learning-rate", type=float, default=PRETRAIN.learning_rate)
@click.option("--weight-decay", type=float, default=PRETRAIN.weight_decay)
@click.option(
    "--decay-norms/--no-decay-norms",
    default=PRETRAIN.decay_norms,
    help="Weight decay on norms and biases too; never on the temperature.",
)
@click.option(
    "--ema",
    type=float,
    default=PRETRAIN.ema,
    help="Keep a moving average of the weights of this decay, such as 0.999, to validate and measure; 0: none.",
)
@click.option("--temperature", type=float, default=PRETRAIN.temperature)
@click.option("--learn-temperature", is_flag=True, default=PRETRAIN.learn_temperature, help="Train it too.")
@click.option("--warmup-steps", type=int, default=PRETRAIN.warmup_steps, help="Updates until the full learning rate.")
@click.option("--schedule", type=click.Choice(SCHEDULES), default=PRETRAIN.schedule, help="Of the learning rate.")
@click.option(
    "--grad-clip-norm", type=float, default=PRETRAIN.grad_clip_norm, help="Longest gradient of an update; 0: no limit."
)
@click.option("--precision", type=click.Choice(PRECISIONS), default=PRETRAIN.precision, help="Of the encoders.")
@click.option("--compile", is_flag=True, default=PRETRAIN.compile, help="Train with torch.compile.")
@click.option(
    "--jpeg-decoder",
    type=click.Choice(JPEG_DECODERS),
    default=PRETRAIN.jpeg_decoder,
    help="Decode the JPEGs of a dataset on the CPU or on the device, a GPU.",
)
@click.option(
    "--log-every",
    type=int,
    default=PRETRAIN.log_every,
    help="Updates of a line of metrics.jsonl, which has their mean.",
)
@click.option("--checkpoint-every-steps", type=int, default=PRETRAIN.checkpoint_every_steps)
@click.option(
    "--keep-checkpoints", type=int, default=PRETRAIN.keep_checkpoints, help="Newest ones that stay, beside the best."
)
@click.option("--spec-augment", is_flag=True, default=PRETRAIN.spec_augment, help="Mask bands and times of the sound.")
@augmentation_options
@click.option(
    "--deterministic/--no-deterministic",
    default=None,
    help="The same weights, bit for bit, from the same command. Default: on for the CPU, where it costs nothing; off "
    "for CUDA, where it costs speed and torch warns of operations that have no deterministic kernel.",
)
@click.option(
    "--profile",
    metavar="N",
    type=click.IntRange(1, 1000),
    default=None,
    help="Time the parts of N updates, trace N more, and write both to RUN/profile; training goes on.",
)
@click.option("--change", is_flag=True, help="Go on with a run under other settings; RUN/changes.json records them.")
@click.option(
    "--log",
    metavar="NAMES",
    default="",
    help="Send the metrics there too: tensorboard, wandb, trackio, with commas between them (extras of these names).",
)
@click.option("--tensorboard", is_flag=True, help="As --log tensorboard: write RUN/tensorboard too.")
@cache_options
@read_threads_option
@device_options
@config_option()
@json_option
@click.pass_context
def pretrain(
    ctx: click.Context,
    dataset: tuple[Path | str, ...],
    run: Path | str,
    seeds: str | None,
    change: bool,
    log: str,
    tensorboard: bool,
    deterministic: bool | None,
    profile: int | None,
    device: str,
    threads: int | None,
    cache: Path | None,
    cache_bytes: int,
    read_threads: int | None,
    **settings: Any,
) -> None:
    """Train both encoders on the train split of dataset DIR, or of several together; also under torchrun.

    Of several datasets, DIR:0.5 has half of its clips in each epoch, drawn anew, and DIR:2 each twice.

    The same command resumes; with more --epochs or --max-steps it goes on longer.
    """
    from avtrain.training.every_run import pretrain_runs

    def check() -> None:
        if seeds is not None and ctx.get_parameter_source("seed") is click.core.ParameterSource.COMMANDLINE:
            raise UserError("--seed and --seeds exclude each other; give one of them.")

    pretrain_runs(
        dataset,
        run,
        settings,
        seeds=seeds,
        device=device,
        threads=threads,
        cache=cache,
        cache_bytes=cache_bytes,
        read_threads=read_threads,
        log=[*log.split(","), *(["tensorboard"] if tensorboard else [])],
        change=change,
        deterministic=deterministic,
        profile=profile or 0,
        check=check,
        finished=lambda name, result: answer({"run": name, **dataclasses.asdict(result)}, [_ended(name, result)]),
    )


def _ended(run: str, result: PretrainResult) -> str:
    """A line for a run that has ended, and one for its best checkpoint."""
    lines = (
        f"{run}: {result.steps} updates, loss {result.last_loss:.3f} in the last epoch, "
        f"{result.pairs_per_second:.0f} pairs/s, {100 * result.waited_share:.1f} % of the time waiting for data"
    )
    if result.best is None:
        return lines
    return lines + (
        f"\nbest in validation: update {result.best['step']}, at the end of epoch {result.best['epoch']}, "
        f"R@1 of the class {100 * result.best['class_recall_at_1']:.1f} %"
    )


@click.command(cls=Command)
@click.argument("run", metavar="RUN", type=DIRECTORY)
@click.option("--last", type=int, required=True, help="How many of the newest checkpoints; see --keep-checkpoints.")
@json_option
def average(run: Path, last: int) -> None:
    """Make one checkpoint of the mean weights of the last checkpoints of RUN, in RUN."""
    from avtrain.runs.average import average as write

    folder = write(run, last)
    line = f"{folder} has the mean weights of {last} checkpoints; evaluate, embed and export take it as --run."
    answer({"path": folder, "checkpoints": last}, [line])


@click.command("import-released", cls=Command)
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--run", type=OUT_FOLDER, required=True, help="Run folder to write.")
@json_option
def import_released(file: Path, run: Path) -> None:
    """Make a run of a checkpoint FILE of the authors' released code: both encoders, no projection heads."""
    from avtrain.runs.import_released import import_checkpoint

    path = import_checkpoint(file, run)
    line = (
        f"{path} holds both encoders; --run {run} and --init-from {run} take them. They were "
        "trained on the log-mel that 'avprep build-shards --logmel-preset released-code' computes."
    )
    answer({"path": path, "run": run}, [line])
