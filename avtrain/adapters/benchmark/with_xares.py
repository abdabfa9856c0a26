"""Tasks of X-ARES: those that come with it, whose audio tars lie in a local folder, and a manifest's clips."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xares.task import TaskConfig, XaresTask

from avprep.shared.errors import UserError
from avprep.shared.own_code import import_own
from avtrain.adapters import xares
from avtrain.adapters.benchmark.clips import as_tar, is_manifest, own_clips, write_sounds
from avtrain.adapters.benchmark.settings import Job, Score, Settings

SIDES = ("audio",)
TASK_FILE = re.compile(r"tasks/(\w+)_task\.py")
READY = ".audio_tar_ready"
NEIGHBOURS = 10  # of X-ARES' k-NN, which fails on fewer clips to fit on


def known(_settings: Settings) -> list[str]:
    """The names of the tasks that come with X-ARES."""
    files = importlib.metadata.files("xares") or []
    return sorted(match[1] for match in map(TASK_FILE.fullmatch, map(str, files)) if match)


def expanded(name: str, _settings: Settings) -> list[str]:
    """The task itself."""
    return [name]


def run_task(job: Job) -> Score:
    """The score of X-ARES' linear layer, that of its k-NN beside it where the task has one. Errors: UserError."""
    settings = job.settings
    encoder = xares.load(settings.run, settings.device, settings.weights)
    config = _of_clips(job, encoder) if is_manifest(job.task) else _config_of(job.task)(encoder)
    config.torch_num_threads = settings.threads or config.torch_num_threads
    config.batch_size_encode = settings.batch_size
    if not is_manifest(job.task):
        _lay_out(config, Path(settings.data), job)
    config.env_root = str(job.work)
    task = XaresTask(config=config)
    task.make_encoded_tar()
    value, _ = task.run_mlp()
    further = {f"{config.metric}, k-NN": float(task.run_knn()[0])} if config.do_knn else {}
    return Score(str(config.metric), float(value), further)


def _config_of(name: str) -> Callable[[Any], TaskConfig]:
    """The function that makes a task's config for an encoder, of X-ARES or the user's own `package:function`."""
    if ":" in name:
        function: Callable[[Any], TaskConfig] = import_own(name, "a task of X-ARES")
        return function
    module = importlib.import_module(f"tasks.{name}_task")
    (config,) = [one for one in dir(module) if one.endswith("_config")]
    return getattr(module, config)


def _lay_out(config: TaskConfig, data: Path, job: Job) -> None:
    """Link a task's audio tars into its work folder: X-ARES writes beside them, and the data folder is only read.

    With --download a task whose tars are missing is fetched into the data folder first. Errors: UserError.
    """
    source = (data / config.name).resolve()
    if job.settings.download and not (source / READY).exists():
        config.env_root = str(data.resolve())
        XaresTask(config=config).download_audio_tar()
    tars = sorted(source.rglob("*.tar"))
    if not tars:
        raise UserError(f"{source} has no tar of task {job.task}; lay X-ARES' audio tars there, or give --download.")
    folder = job.work / config.name
    folder.mkdir(parents=True, exist_ok=True)
    for tar in tars:
        link = folder / tar.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tar)
    (folder / READY).touch()


def _of_clips(job: Job, encoder: xares.FrameEncoder) -> TaskConfig:
    """A classification of a manifest's clips by their sound."""
    own = own_clips(Path(job.task), validation=True)
    sounds = write_sounds(own, encoder.sampling_rate, job.work / "sounds")
    folder = job.work / own.name
    folder.mkdir(parents=True, exist_ok=True)
    for split, files in sounds.items():
        as_tar(files, folder / f"{split}-000000.tar")
    (folder / READY).touch()
    return TaskConfig(
        name=own.name,
        encoder=encoder,
        train_split="train",
        valid_split="val",
        test_split="test",
        label_processor=_label,
        output_dim=len(own.labels),
        eval_weight=len(own.splits["test"]),
        private=True,
        do_knn=len(own.splits["train"]) >= NEIGHBOURS,
    )


def _label(row: dict[str, Any]) -> int:
    return int(row["label"])
