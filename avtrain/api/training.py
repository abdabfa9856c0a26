"""Runs: planned and trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avprep.shared import configs
from avprep.shared.urls import path_or_url
from avtrain.config import CACHE_BYTES, PlanConfig, PretrainConfig

if TYPE_CHECKING:
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

    return survey(dataset_of(dataset), PlanConfig(**configs.merged(config, settings)))


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
        configs.merged(config, settings),
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
