"""The avtrain command: options in, a config object out; every heavy import happens inside the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import avtrain
from avprep.shared.commands import Group, config_option, stop_on_signals
from avprep.shared.errors import Interrupted, UserError
from avtrain.config import MODEL_SIZES, PROBES, PROTOCOLS, SPLITS, EvaluateConfig, PlanConfig, PretrainConfig

if TYPE_CHECKING:
    from avtrain.data.cache import CacheConfig

DIRECTORY = click.Path(path_type=Path, file_okay=False)
CACHE_BYTES = 100 << 30
PRETRAIN = PretrainConfig()
PLAN = PlanConfig()
EVALUATE = EvaluateConfig()


def dataset_of(text: str) -> Path | str:
    """A dataset folder: a path, or a URL as text."""
    return text if "://" in text else Path(text)


def cache_options(command: click.decorators.FC) -> click.decorators.FC:
    """--cache and --cache-bytes."""
    command = click.option(
        "--cache-bytes", type=click.IntRange(1), default=CACHE_BYTES, help="Most bytes that the cache may hold."
    )(command)
    return click.option("--cache", type=DIRECTORY, default=None, help="Keep shards of a remote DIR here.")(command)


@click.group(cls=Group, context_settings={"max_content_width": 100, "show_default": True})
@click.version_option(avtrain.__version__)
def main() -> None:
    """Class-indexed shards -> audio-visual encoders -> tables."""


def device_options(command: click.decorators.FC) -> click.decorators.FC:
    """--device and --threads."""
    command = click.option(
        "--threads", type=click.IntRange(1), default=None, help="CPU threads; default: torch's choice."
    )(command)
    return click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")(command)


def sampling_options(command: click.decorators.FC) -> click.decorators.FC:
    """What decides the batches: --strategy, --labels, --batch-size, --epochs, --seed."""
    for option in (
        click.option("--seed", type=int, default=PRETRAIN.seed),
        click.option("--epochs", type=int, default=PRETRAIN.epochs),
        click.option("--batch-size", type=int, default=PRETRAIN.batch_size, help="Pairs in a batch, over all ranks."),
        click.option(
            "--labels", default=PRETRAIN.labels, help="Label column that the strategy goes by: a NAME of labels/."
        ),
        click.option(
            "--strategy",
            default=PRETRAIN.strategy,
            help="random | easy-negative | hard-negative | soft-positive[:p=P,labelled=SHARE] | class-balanced | "
            "pairs:FILE (Parquet: audio, video, optional weight).",
        ),
    ):
        command = option(command)
    return command


@main.command()
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


@main.command()
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
                device=_device(device, threads),
                cache=_cache(dataset, cache, cache_bytes),
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


@main.command()
@click.argument("dataset", metavar="DIR", type=dataset_of)
@click.option("--protocol", type=click.Choice([*PROTOCOLS, "retrieval"]), default=EVALUATE.protocol)
@click.option("--run", type=DIRECTORY, default=None, help="Run whose newest checkpoint is measured.")
@click.option(
    "--out", type=DIRECTORY, default=None, help="Folder for result.json; default: RUN/eval/DATASET-PROTOCOL-sSEED."
)
@click.option(
    "--model-size", type=click.Choice(MODEL_SIZES), default=EVALUATE.model_size, help="Of an encoder without a run."
)
@click.option("--epochs", type=int, default=EVALUATE.epochs)
@click.option("--batch-size", type=int, default=EVALUATE.batch_size)
@click.option("--learning-rate", type=float, default=EVALUATE.learning_rate, help="Of an encoder in training.")
@click.option("--weight-decay", type=float, default=EVALUATE.weight_decay)
@click.option("--probe", type=click.Choice(PROBES), default=EVALUATE.probe, help="How linear treats the encoder.")
@click.option("--dropout", type=float, default=EVALUATE.dropout, help="Before the head of an encoder in training.")
@click.option("--windows-per-clip", type=int, default=EVALUATE.windows_per_clip)
@click.option("--split", type=click.Choice(SPLITS), default=EVALUATE.split, help="What chooses epoch and rate.")
@click.option("--label-fraction", type=float, default=EVALUATE.label_fraction, help="Share of the labels to fit on.")
@click.option("--validation-share", type=float, default=EVALUATE.validation_share)
@click.option("--seed", type=int, default=EVALUATE.seed)
@device_options
@config_option()
def evaluate(
    dataset: Path | str,
    protocol: str,
    run: Path | None,
    out: Path | None,
    device: str,
    threads: int | None,
    **settings: object,
) -> None:
    """Measure an audio encoder on dataset DIR: linear, finetune, supervised, knn; or retrieval with both encoders."""
    from avprep.shared import store
    from avtrain.evaluate import evaluate as measure
    from avtrain.retrieval import retrieve

    place = _device(device, threads)
    if out is None and run is not None:
        name = dataset.resolve().name if isinstance(dataset, Path) else dataset.rstrip("/").rsplit("/", 1)[-1]
        out = run / "eval" / f"{name}-{protocol}-s{settings['seed']}"
    if protocol in ("retrieval", "finetune") and run is None:
        raise UserError(f"{protocol.capitalize()} starts from a run; give --run.")
    if protocol == "retrieval":
        assert run is not None
        assert out is not None
        found = retrieve(dataset, run, device=place)
        store.write_json(out / "result.json", found)
        click.echo(
            f"exact pairs among {found['clips']} test clips: R@1 {100 * found['recall_at_1']:.1f} % "
            f"(chance {100 * found['chance_at_1']:.1f} %), R@5 {100 * found['recall_at_5']:.1f} %; "
            f"their classes: R@1 {100 * found['class_recall_at_1']:.1f} % "
            f"(chance {100 * found['chance']['class']['recall_at_1']:.1f} %)"
        )
    else:
        if protocol == "supervised" and run is not None:
            raise UserError("Supervised training starts from scratch; leave --run out and give --out.")
        if protocol == "supervised" and out is None:
            raise UserError("Give --out: the result of supervised training has no run folder to lie in.")
        config = EvaluateConfig(protocol=protocol, **settings)  # type: ignore[arg-type]
        result = measure(dataset, config, run=run, out=out, device=place)
        low, high = result["interval_95"]
        chosen = f"epoch {result['epoch']}" if "epoch" in result else f"k = {result['neighbours']}"
        click.echo(
            f"{protocol} accuracy {100 * result['accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f}) "
            f"and mAP {100 * result['mean_average_precision']:.1f} % "
            f"on {result['test_clips']} test clips; {chosen} was best in validation"
        )
    if out is not None:
        click.echo(f"written to {out / 'result.json'}")


@main.command()
@click.argument("out", metavar="[OUT]", type=DIRECTORY, default=Path("demo-out"))
@click.option(
    "--instance-cue",
    type=click.FloatRange(0, 1),
    default=1.0,
    help="How strongly picture and sound of one clip share their instance.",
)
@click.option("--clips-per-class", type=click.IntRange(10, 10_000), default=64)
@click.option("--seeds", type=click.IntRange(1, 100), default=3, help="Training seeds a row.")
@click.option("--epochs", type=click.IntRange(1), default=60)
@click.option("--batch-size", type=click.IntRange(2), default=64)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the rendering.")
@click.option("--workers", type=click.IntRange(1), default=None, help="Processes; default: all cores.")
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
    from avtrain.demo import DemoSettings, printed, run_demo
    from avtrain.report import write_report

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
    click.echo(printed(rows))
    click.echo(f"The clips are synthetic and built to show the effect; {write_report(out, settings, rows)} says how.")


@main.command()
@click.argument("dataset", metavar="DIR", type=dataset_of)
@click.option("--strategy", "strategies", multiple=True, help="One to measure; may be given more than once.")
@click.option("--batch-size", type=click.IntRange(1), default=PRETRAIN.batch_size, help="Pairs in a batch.")
@click.option("--batches", type=click.IntRange(1), default=20, help="Batches of a measurement.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="Measurements; their median is told.")
@click.option("--threads", type=click.IntRange(1), default=2, help="Reading and decoding threads.")
@click.option("--prefetch", type=click.IntRange(1), default=2, help="Batches read ahead.")
@click.option("--seed", type=int, default=PRETRAIN.seed)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@cache_options
def bench(
    dataset: Path | str,
    strategies: tuple[str, ...],
    as_json: bool,
    cache: Path | None,
    cache_bytes: int,
    **settings: int,
) -> None:
    """Pairs a second from where dataset DIR lies, beside bare reading and decoding; which step rate that feeds."""
    import json

    from avprep.dataset import Dataset
    from avtrain.bench import BenchConfig, measure, printed

    chosen = {"strategies": strategies} if strategies else {}
    config = BenchConfig(**chosen, **settings)  # type: ignore[arg-type]
    found = measure(Dataset(dataset), config, _cache(dataset, cache, cache_bytes))
    click.echo(json.dumps(found, indent=2) if as_json else printed(found))


def _cache(dataset: Path | str, folder: Path | None, max_bytes: int) -> CacheConfig | None:
    if folder is None:
        return None
    if isinstance(dataset, Path):
        raise UserError(f"{dataset} is on this machine already; --cache is for datasets at a URL.")
    from avtrain.data.cache import CacheConfig

    return CacheConfig(folder=folder, max_bytes=max_bytes)


def _device(name: str, threads: int | None) -> str:
    """A device that is there; sets torch's thread count."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"Device {name!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return name
