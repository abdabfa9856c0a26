"""avtrain's commands as functions, under the names that `avtrain` exports.

A path is a `str` or a `Path`; where a URL is possible it is a `str`, such as "s3://bucket/my-data".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avprep.shared import configs
from avprep.shared.side_by_side import SideBySide
from avprep.shared.urls import path_or_url
from avtrain.config import CACHE_BYTES, EvaluateConfig, PlanConfig, PretrainConfig

if TYPE_CHECKING:
    from avtrain.embed import Embedded
    from avtrain.report import Reported
    from avtrain.training.pretrain import PretrainResult

AnyPath = Path | str
AnyPaths = AnyPath | Sequence[AnyPath]


def plan(dataset: AnyPaths, *, config: PlanConfig | None = None, **settings: Any) -> dict[str, Any]:
    """What the batches of a pretraining run will be, as `avtrain plan --json` prints it; no media is read.

    Args:
        dataset: The dataset, a folder or a URL; or several, as in `pretrain`.
        config: The settings of the run that decide its batches.
        **settings: Fields of `PlanConfig`, such as `strategy="soft-positive"`; they override those of `config`.

    Raises:
        UserError: The dataset cannot serve the strategy or the batch size.
    """
    from avtrain.data.plan_survey import survey
    from avtrain.data.several import dataset_of

    return survey(dataset_of(dataset), PlanConfig(**_merged(config, settings)))


def pretrain(
    dataset: AnyPaths,
    run: AnyPath,
    *,
    config: PretrainConfig | None = None,
    device: str = "auto",
    threads: int | None = None,
    cache: AnyPath | None = None,
    cache_bytes: int = CACHE_BYTES,
    read_threads: int | None = None,
    log: Sequence[str] = (),
    tensorboard: bool = False,
    quiet: bool = False,
    change: bool = False,
    deterministic: bool | None = None,
    profile: int = 0,
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> PretrainResult:
    """Train both encoders on the train split of a dataset; the same call resumes. Also under torchrun.

    Args:
        dataset: The dataset, a folder or a URL; or several of them, as in `["a", "b:0.5"]`, where each epoch draws
            half of the clips of b.
        run: Run folder or URL; a run that is there is resumed.
        config: The settings of the run.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; None: torch's choice.
        cache: Folder that keeps shards of a dataset at a URL.
        cache_bytes: Most bytes that the cache may hold.
        read_threads: Threads that read and decode clips; None: the cores of this process, 32 at most.
        log: Where the metrics go besides: `tensorboard`, `wandb`, `trackio`; each needs the extra of its name.
        tensorboard: As `tensorboard` in `log`.
        quiet: Report no progress.
        change: Continue a run under other settings; RUN/changes.json records them.
        deterministic: On CUDA, the same weights bit for bit from the same call, at a cost in speed; None: not on CUDA.
            On a CPU it is always so.
        profile: So many updates are timed part by part, and as many traced; both are written to RUN/profile. 0: none.
        stopping: Called after each update; once it returns True, the run stops after a checkpoint.
        **settings: Fields of `PretrainConfig`, such as `batch_size=64`; they override those of `config`.

    Raises:
        UserError: The dataset cannot serve the settings, or `run` holds a run of other settings.
        Interrupted: `stopping` returned True.
        FloatingPointError: A loss or gradient is NaN or infinite.
    """
    from avtrain.training.every_run import pretrain_runs

    (result,) = pretrain_runs(
        dataset,
        path_or_url(run),
        _merged(config, settings),
        device=device,
        threads=threads,
        cache=None if cache is None else Path(cache),
        cache_bytes=cache_bytes,
        read_threads=read_threads,
        log=[*log, "tensorboard"] if tensorboard else log,
        quiet=quiet,
        change=change,
        deterministic=deterministic,
        profile=profile,
        stopping=stopping,
    )
    return result


def evaluate(
    dataset: AnyPath,
    run: AnyPath | None = None,
    *,
    out: AnyPath | None = None,
    config: EvaluateConfig | None = None,
    device: str = "auto",
    threads: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Measure an audio encoder on a dataset: `linear`, `finetune`, `supervised`, `knn`; or `retrieval` with both.

    Args:
        dataset: The dataset, a folder or a URL.
        run: Run folder or URL, or the folder of one checkpoint; with `out` also an exported encoder, one published at
            "hf://ORG/NAME[@REVISION]"; None: an encoder without a run, and `out` is needed.
        out: Folder or URL for result.json and predictions.parquet; None: RUN/eval/DATASET-PROTOCOL-sSEED.
        config: The settings of the evaluation.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; None: torch's choice.
        **settings: Fields of `EvaluateConfig`, such as `protocol="knn"`, which may also be `"retrieval"`; they override
            those of `config`.

    Returns:
        The values of result.json, such as `accuracy` and `interval_95`.

    Raises:
        UserError: Protocol, run and dataset do not fit, or `out` holds another evaluation.
    """
    from avtrain.devices import device_for, set_threads
    from avtrain.evaluation.measure import MODELS, measure

    set_threads(threads)
    of_run, results = (None if given is None else path_or_url(given) for given in (run, out))
    merged = _merged(config, settings)
    if run is not None:
        merged = {name: value for name, value in merged.items() if name in settings or name not in MODELS}
    scores, _ = measure(path_or_url(dataset), of_run, results, merged, device=device_for(device))
    return scores


def compare(*runs: AnyPath, evaluation: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Compare runs with the first on the same test clips, as `avtrain compare --json` prints it.

    Args:
        *runs: Two or more: run folders, folders of `evaluate`, or predictions.parquet files.
        evaluation: Folder below RUN/eval, where a run has several.
        seed: Seed of the bootstrap.

    Returns:
        `comparisons`: for each further run its accuracy, difference, interval, p-value and `p_holm`.

    Raises:
        UserError: A run has no such evaluation, or the runs were measured on other clips.
    """
    from avtrain.evaluation.compare import compare_runs

    return compare_runs([Path(run) for run in runs], evaluation, seed)


def compare_groups(
    base: Sequence[AnyPath], *others: Sequence[AnyPath], evaluation: str | None = None
) -> dict[str, Any]:
    """Compare groups of runs with `base`, seed by seed or fold by fold in one order: a paired t-test for each.

    Args:
        base: Two or more runs, as in `compare`.
        *others: Groups of as many runs.
        evaluation: Folder below RUN/eval, where a run has several.

    Raises:
        UserError: Groups are of different sizes, or a pair was measured on other clips.
    """
    from avtrain.evaluation import compare as module

    return module.compare_groups(_paths(base), [_paths(group) for group in others], evaluation)


def write_report(
    runs: Sequence[AnyPath],
    out: AnyPath,
    *,
    datasets: Sequence[AnyPath] = (),
    folds: bool = False,
    title: str = "Pretraining runs",
    device: str = "auto",
) -> Reported:
    """Write a self-contained HTML page over many runs; the first one's kind is the base of the comparisons.

    Args:
        runs: Run folders, folders of runs of several seeds, or folders of `evaluate`.
        out: The page, FILE.html.
        datasets: Datasets of the runs, for retrieved examples and statistics of pairs.
        folds: Datasets of the same classes are folds of one measurement.
        title: Title of the page.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: A folder does not exist, or none is a run.
    """
    from avtrain import report
    from avtrain.devices import device_for

    where = device_for(device)
    known = [path_or_url(dataset) for dataset in datasets]
    return report.write_report(_paths(runs), Path(out), datasets=known, folds=folds, title=title, device=where)


def write_embeddings(
    sources: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    run: AnyPath,
    splits: Sequence[str] = (),
    side: str = "audio",
    projection: bool | None = None,
    window_seconds: float | None = None,
    frame_level: bool = False,
    workers: int | None = None,
    weights: str = "auto",
    device: str = "auto",
    processes: int = 1,
    executor: str = "local",
    address: str | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Embedded:
    """Write embeddings of a dataset, or of the sound of media files, folders and manifests, to a Parquet file.

    Files are decoded, and clips are shared, by spawned processes, so a script calls this below
    `if __name__ == "__main__":`.

    Args:
        sources: A dataset, a folder or URL; or files, folders of them and manifests.
        out: Parquet file to write, one row a clip; clips that cannot be used are in OUT's name with .failures.jsonl.
        run: Run, checkpoint or exported encoder; "hf://ORG/NAME[@REVISION]" is a published one.
        splits: Only clips of these splits; empty: all.
        side: `audio` or `video`: whose encoder. Pictures are embedded of datasets alone.
        projection: End with the layers into the common space; None: as an export was written, else without.
        window_seconds: One row for each window of this length; None: one for the whole clip.
        frame_level: Features of the sound over time, [T, D] a clip, with their hop in seconds.
        workers: Processes that decode files; None: all cores.
        weights: Of the checkpoint: `raw`, `ema` (their moving average) or `auto` (the average where there is one).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        processes: Processes that share the clips, on CUDA each with a GPU of its own; with Ray, cores of one started
            here.
        executor: `local` or `ray`, where dataset and `out` lie in folders that all nodes see.
        address: Of a running Ray cluster; None: one is started here.
        stopping: Called between clips; once it returns True, nothing is written.

    Raises:
        UserError: There is nothing to embed, or the dataset has log-mel or pictures of another kind.
        Interrupted: `stopping` returned True.
    """
    from avtrain import embed
    from avtrain.devices import devices_for

    how = SideBySide(processes=processes, executor=executor, address=address)
    own, of_each = devices_for(device, how)
    load = embed.load_encoder if side == "audio" else embed.load_video_encoder
    encoder = load(run, own, weights, projection=projection)
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    return embed.embed(
        encoder,
        given,
        Path(out),
        splits=splits,
        window_seconds=window_seconds,
        frame_level=frame_level,
        workers=workers,
        how=how,
        device=of_each,
        stopping=stopping,
    )


def export(
    run: AnyPath,
    out: AnyPath,
    *,
    weights: str = "auto",
    side: str | None = None,
    projection: bool | None = None,
    license: str = "",
    creator: str = "",
    citation: str = "",
    publish: str = "",
    public: bool = False,
    encoder_only: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write an encoder of a run to a new folder: safetensors, ONNX, its description and a model card; or publish it.

    Args:
        run: Run, checkpoint or earlier export.
        out: Folder to write; it must not exist. To publish, it may have been exported from the same weights.
        weights: Of the checkpoint: `raw`, `ema` (their moving average) or `auto` (the average where there is one).
        side: `audio` or `video`; None: audio, or that of an earlier export.
        projection: End with the layers into the common space; None: as an earlier export, else without.
        license: Licence of the weights in the card: a name of the hub such as "cc-by-4.0", the address of its text, or
            "unknown".
        creator: Who made the model.
        citation: How to cite it, such as a BibTeX entry.
        publish: Upload the folder to this model of the Hugging Face hub, "hf://ORG/NAME".
        public: A repository that is new is public, not private.
        encoder_only: Publish without the checkpoint with both encoders, which `init_from` begins with.
        quiet: Print no progress.

    Returns:
        `num_features`, `opset`, and how far onnxruntime and torch differ; with `publish` also `published`: the page of
        the repository, `files` and `bytes` uploaded, `kept` files that were there.

    Raises:
        UserError: The extra `export` is missing, the encoder cannot be exported, or ONNX and torch differ; the hub
            refuses or cannot be reached.
    """
    from avtrain.inference.model_card import ModelCardConfig

    card = ModelCardConfig(license=license, creator=creator, citation=citation)
    named: dict[str, Any] = {"weights": weights, "side": side, "projection": projection, "card": card}
    if not publish:
        from avtrain.inference.export import export as write

        return write(path_or_url(run), Path(out), **named)
    from avtrain.inference.publish import export_and_publish

    checked, done = export_and_publish(
        path_or_url(run), Path(out), publish, **named, encoder_only=encoder_only, public=public, quiet=quiet
    )
    return {**checked, "published": dataclasses.asdict(done)}


def _merged(config: Any, settings: dict[str, Any]) -> dict[str, Any]:
    return {**({} if config is None else configs.to_dict(config)), **settings}


def _paths(given: Sequence[AnyPath]) -> list[Path]:
    return [Path(one) for one in given]
