"""Tasks of mteb: its own by name, a benchmark's by the benchmark's name, a class of the user's, a manifest's clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import mteb
from mteb.abstasks import AbsTask, AbsTaskClassification
from mteb.abstasks.task_metadata import TaskMetadata

from avprep.shared.errors import UserError
from avprep.shared.own_code import import_own
from avtrain.adapters.benchmark.clips import OwnClips, is_manifest, own_clips, write_sounds
from avtrain.adapters.benchmark.settings import Job, Score, Settings
from avtrain.adapters.inputs import one_rate_hz
from avtrain.adapters.mteb import MEDIA, meta_of
from avtrain.inference import load_encoder

SIDES = tuple(MEDIA)
RESULTS = "mteb"  # folder of mteb's own result files, beside the work folder


def known(settings: Settings) -> list[str]:
    """The names of mteb's tasks and benchmarks that have nothing but media of the side."""
    names = [task.metadata.name for task in mteb.get_tasks() if _fits(task, settings)]
    return sorted(names) + sorted(one.name for one in mteb.get_benchmarks() if _of_benchmark(one, settings))


def expanded(name: str, settings: Settings) -> list[str]:
    """The tasks that a name means: those of a benchmark that fit the side, or the task itself."""
    for benchmark in mteb.get_benchmarks():
        if benchmark.name == name:
            return _of_benchmark(benchmark, settings)
    return [name]


def _of_benchmark(benchmark: Any, settings: Settings) -> list[str]:
    return [task.metadata.name for task in benchmark.tasks if _fits(task, settings)]


def _fits(task: AbsTask, settings: Settings) -> bool:
    return bool(task.metadata.modalities) and set(task.metadata.modalities) <= set(MEDIA[settings.side])


def run_task(job: Job) -> Score:
    """The main score of a task, its first split's others beside it. Errors: UserError."""
    settings = job.settings
    meta = meta_of(settings.run, settings.side, weights=settings.weights, projection=settings.projection)
    task = _task_of(job)
    done = mteb.evaluate(
        meta.load_model(device=settings.device),
        task,
        cache=mteb.ResultCache(job.work.parent.parent / RESULTS),
        overwrite_strategy="always",
        co2_tracker=False,
        encode_kwargs={"batch_size": settings.batch_size, "show_progress_bar": False},
        show_progress_bar=False,
    )
    (result,) = done.task_results
    first = next(iter(result.scores.values()))[0]
    further = {name: float(value) for name, value in first.items() if isinstance(value, (int, float))}
    main = task.metadata.main_score
    return Score(main, float(result.get_score()), {n: v for n, v in further.items() if n not in (main, "main_score")})


def _task_of(job: Job) -> AbsTask:
    if is_manifest(job.task):
        return task_of_clips(job)
    if ":" in job.task:
        task = import_own(job.task, "a task of mteb", "class")()
        if not isinstance(task, AbsTask):
            raise UserError(f"{job.task} is no task of mteb; derive it from one of mteb's AbsTask classes.")
        return task
    return mteb.get_task(job.task)


def task_of_clips(job: Job) -> AbsTask:
    """A classification of a manifest's clips by their sound: mteb's logistic regression on all train clips."""
    settings = job.settings
    own = own_clips(Path(job.task), validation=False)
    encoder = load_encoder(settings.run, weights=settings.weights, projection=settings.projection)
    sounds = write_sounds(own, one_rate_hz(encoder.description), job.work / "sounds")

    class Clips(AbsTaskClassification):
        metadata = _metadata(own, job.digest)
        input_column_name = "audio"
        samples_per_label = max(len(own.splits["train"]), 1)
        n_experiments = 1

        def load_data(self, *_args: Any, **_options: Any) -> None:
            """Lay the files out as mteb's rows; they are decoded by the encoder's own decoder."""
            self.dataset = datasets.DatasetDict({split: _rows(sounds[split]) for split in ("train", "test")})
            self.data_loaded = True

    return Clips()


def _rows(files: list[tuple[Path, int]]) -> datasets.Dataset:
    rows = {"audio": [str(path) for path, _ in files], "label": [label for _, label in files]}
    return datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))


def _metadata(own: OwnClips, digest: str) -> TaskMetadata:
    return TaskMetadata(
        name=own.name,
        description=f"The clips of {own.path.name}, by their sound.",
        type="AudioClassification",
        category="a2c",
        modalities=["audio"],
        dataset={"path": f"local/{own.name}", "revision": digest},
        eval_splits=["test"],
        eval_langs=["zxx-Zxxx"],
        main_score="accuracy",
    )
