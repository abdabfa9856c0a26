"""Options and parameter types that the commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from avprep.shared.outputs import Output, PathOrUrl, is_json_lines, is_page
from avtrain.config import CACHE_BYTES, NEIGHBOURS_KEY, WEIGHTS, EvaluateConfig, PretrainConfig
from avtrain.config.rules import strategy_usages

DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
PRETRAIN = PretrainConfig()


def _is_parquet_of(key: bytes) -> Callable[[Path], bool]:
    """Whether a Parquet file has metadata under `key`, by which one of ours is known."""

    def known(path: Path) -> bool:
        import pyarrow.parquet as pq

        try:
            return key in (pq.read_schema(path).metadata or {})
        except (OSError, ValueError):
            return False

    return known


DATASET = PathOrUrl(path_type=Path)
OUT_FOLDER = Output()
OUT_FOLDER_OR_URL = Output(remote=True)
OUT_PAGE = Output((".html", ".htm"), is_page("report"))
OUT_ERRORS = Output((".html", ".htm"), is_page("errors"))
OUT_EMBEDDINGS = Output(
    (".parquet",), _is_parquet_of(b"encoder"), {".failures.jsonl": is_json_lines("clip_id", "path", "reason", "detail")}
)


OUT_PAIRS = Output((".parquet",), _is_parquet_of(NEIGHBOURS_KEY))


def augmentation_options(command: click.decorators.FC) -> click.decorators.FC:
    """What changes pictures and sounds at random: --crop-size to --sound-mixup."""
    for option in (
        click.option(
            "--sound-mixup",
            type=float,
            default=PRETRAIN.sound_mixup,
            help="Largest share, to 0.5, of the sound of another pair in each sound; the loss is the same.",
        ),
        click.option(
            "--time-shift-seconds",
            type=float,
            default=PRETRAIN.time_shift_seconds,
            help="Longest shift of each sound within its window, around its end.",
        ),
        click.option("--gain-db", type=float, default=PRETRAIN.gain_db, help="Each sound is louder or softer by this."),
        click.option("--grey-share", type=float, default=PRETRAIN.grey_share, help="Share of clips that are grey."),
        click.option(
            "--colour-jitter",
            type=float,
            default=PRETRAIN.colour_jitter,
            help="Strength, 0 to 1, of changes of brightness, contrast, saturation and hue.",
        ),
        click.option(
            "--crop-min-area",
            type=float,
            default=PRETRAIN.crop_min_area,
            help="Below 1: crops have a random share of the picture's area, at least this, and are resized.",
        ),
        click.option(
            "--crop-size",
            type=int,
            default=PRETRAIN.crop_size,
            help="Train on random crops of this many px, measure on the middle; 0: whole pictures.",
        ),
    ):
        command = option(command)
    return command


def cache_options(command: click.decorators.FC) -> click.decorators.FC:
    """--cache and --cache-bytes."""
    command = click.option(
        "--cache-bytes", type=click.IntRange(1), default=CACHE_BYTES, help="Most bytes that the cache may hold."
    )(command)
    return click.option("--cache", type=OUT_FOLDER, default=None, help="Keep shards of a remote DIR here.")(command)


def datasets_argument(command: click.decorators.FC) -> click.decorators.FC:
    """DIR, once or more, each maybe with a weight."""
    return click.argument("dataset", metavar="DIR[:WEIGHT]...", nargs=-1, required=True, type=DATASET)(command)


def weights_option(command: click.decorators.FC) -> click.decorators.FC:
    """--weights."""
    return click.option(
        "--weights",
        type=click.Choice(WEIGHTS),
        default=EvaluateConfig.weights,
        help="Of the checkpoint: raw, ema (their moving average, see pretrain --ema); auto: ema where there is one.",
    )(command)


def read_threads_option(command: click.decorators.FC) -> click.decorators.FC:
    """--read-threads."""
    return click.option(
        "--read-threads",
        type=click.IntRange(1),
        default=None,
        help="Threads that read and decode clips. Default: the cores of this process, 32 at most.",
    )(command)


def window_options(command: click.decorators.FC) -> click.decorators.FC:
    """Sizes of windows: --window-frames, --frame-stride, --audio-seconds."""
    for option in (
        click.option(
            "--audio-seconds",
            type=float,
            default=PRETRAIN.audio_seconds,
            help="Sound of a window, around the middle of its pictures; 0: 1 s.",
        ),
        click.option(
            "--frame-stride", type=int, default=PRETRAIN.frame_stride, help="Every n-th stored picture is in a window."
        ),
        click.option(
            "--window-frames", type=int, default=PRETRAIN.window_frames, help="Pictures of a window; 0: half a second."
        ),
    ):
        command = option(command)
    return command


def device_options(command: click.decorators.FC) -> click.decorators.FC:
    """--device and --threads."""
    command = click.option(
        "--threads", type=click.IntRange(1), default=None, help="CPU threads; default: torch's choice."
    )(command)
    return click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")(command)


def sampling_options(command: click.decorators.FC) -> click.decorators.FC:
    """What decides the batches and how pairs count: --strategy to --seed."""
    for option in (
        click.option("--seed", type=int, default=PRETRAIN.seed),
        click.option(
            "--val-share",
            type=float,
            default=PRETRAIN.val_share,
            help="Without a val split: share of the training clips, in whole groups, to validate on instead.",
        ),
        click.option("--fold", metavar="FOLD", default=PRETRAIN.fold, help="The fold that is not trained on."),
        click.option(
            "--fold-column",
            metavar="NAME",
            default=PRETRAIN.fold_column,
            help="Column of folds ('avprep split'), which replace the splits of the manifest.",
        ),
        click.option("--epochs", type=int, default=PRETRAIN.epochs),
        click.option(
            "--accumulate",
            type=int,
            default=PRETRAIN.accumulate,
            help="Batches whose mean gradient makes an update; each has its own negatives.",
        ),
        click.option("--batch-size", type=int, default=PRETRAIN.batch_size, help="Pairs in a batch, over all ranks."),
        click.option(
            "--label-confidence",
            is_flag=True,
            default=PRETRAIN.label_confidence,
            help="Weight a pair of two clips in the loss by the probabilities of their labels in that column.",
        ),
        click.option(
            "--labels", default=PRETRAIN.labels, help="Label column that the strategy goes by: a NAME of labels/."
        ),
        click.option(
            "--strategy",
            default=PRETRAIN.strategy,
            help=f"{' | '.join(strategy_usages())} (FILE: Parquet with audio, video, optional weight).",
        ),
    ):
        command = option(command)
    return command


def set_threads_of(threads: int | None) -> None:
    """Set torch's thread count, where one is given."""
    from avtrain.devices import set_threads

    set_threads(threads)


def device_of(name: str, threads: int | None) -> str:
    """A device that is there; sets torch's thread count."""
    from avtrain.devices import device_for

    set_threads_of(threads)
    return device_for(name)
