"""Tasks of HEAR 2021, run by heareval: task folders as it hands them out, and a manifest's clips laid out as one.

heareval is of 2021. It imports TensorFlow to know models that are not of torch: a stand-in takes its place, since
TensorFlow and pyarrow in one process end in a crash. And it reads checkpoints that it has just written with classes
inside, which torch refuses today unless an environment variable allows it, in this process alone.
"""

from __future__ import annotations

import importlib.machinery
import json
import logging
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.adapters import hear
from avtrain.adapters.benchmark.clips import is_manifest, own_clips, write_sounds
from avtrain.adapters.benchmark.settings import Job, Score, Settings

SIDES = ("audio",)
METADATA = "task_metadata.json"
GRID_POINTS = 8
OWN_SPLITS = {"train": "train", "val": "valid", "test": "test"}


def known(settings: Settings) -> list[str]:
    """The names of the task folders below --data."""
    return sorted(path.parent.name for path in Path(settings.data).glob(f"*/{METADATA}")) if settings.data else []


def expanded(name: str, _settings: Settings) -> list[str]:
    """The task itself."""
    return [name]


def run_task(job: Job) -> Score:
    """The test score of heareval's predictor, chosen among its grid by validation. Errors: UserError."""
    settings = job.settings
    _stand_in_for_tensorflow()
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    from heareval.embeddings.task_embeddings import Embedding, task_embeddings
    from heareval.predictions.task_predictions import task_predictions

    folder = _of_clips(job) if is_manifest(job.task) else (Path(settings.data) / job.task).resolve()
    metadata = store.read_json(folder / METADATA)
    embedding = Embedding("avtrain.adapters.hear", settings.run, {"weights": settings.weights})
    embedding.model.to(settings.device)
    embedding.device = settings.device
    rate = folder / str(embedding.sample_rate)
    if not rate.is_dir():
        raise UserError(f"{folder} has no sound at {embedding.sample_rate} Hz; fetch the task at that rate.")
    made = job.work / "embeddings"
    task_embeddings(embedding, folder, made)
    task_predictions(
        embedding_path=made,
        embedding_size=_width(made, metadata),
        grid_points=GRID_POINTS,
        gpus=None if settings.device == "cpu" else [0],
        in_memory=True,
        deterministic=True,
        grid="default",
        logger=logging.getLogger(__name__),
    )
    return score_of(store.read_json(made / "test.predicted-scores.json"), metadata["evaluation"][0])


def score_of(results: dict[str, Any], metric: str) -> Score:
    """The score in heareval's test.predicted-scores.json: of the test split, or the mean over folds."""
    if "aggregated_scores" in results:
        scores, main = results["aggregated_scores"], "test_score_mean"
    else:
        scores, main = results["test"], "test_score"
    further = {name.removeprefix("test_"): float(value) for name, value in scores.items() if name.startswith("test_")}
    further.pop(main.removeprefix("test_"))
    return Score(metric, float(scores[main]), further)


def _width(made: Path, metadata: dict[str, Any]) -> int:
    return int(json.loads((made / f"{metadata['splits'][0]}.embedding-dimensions.json").read_text(encoding="utf-8"))[1])


def _of_clips(job: Job) -> Path:
    """The task folder of a manifest's clips."""
    own = own_clips(Path(job.task), validation=True)
    model = hear.load_model(job.settings.run, job.settings.weights)
    folder = job.work / own.name
    sounds = write_sounds(own, model.sample_rate, job.work / "sounds")
    (folder / str(model.sample_rate)).mkdir(parents=True)
    for split, files in sounds.items():
        (folder / str(model.sample_rate) / OWN_SPLITS[split]).symlink_to(job.work / "sounds" / split)
        labels = {path.name: [own.labels[label]] for path, label in files}
        store.write_json(folder / f"{OWN_SPLITS[split]}.json", labels)
    rows = "".join(f'{number},"{name.replace(chr(34), chr(34) * 2)}"\n' for number, name in enumerate(own.labels))
    (folder / "labelvocabulary.csv").write_text(f"idx,label\n{rows}", encoding="utf-8")
    metadata = {
        "task_name": own.name,
        "embedding_type": "scene",
        "prediction_type": "multiclass",
        "split_mode": "trainvaltest",
        "splits": list(OWN_SPLITS.values()),
        "sample_duration": None,
        "evaluation": ["top1_acc"],
    }
    store.write_json(folder / METADATA, metadata)
    return folder


def _stand_in_for_tensorflow() -> None:
    """Let `import tensorflow` give a module that knows no model as its own."""
    if "tensorflow" not in sys.modules:
        module = ModuleType("tensorflow")
        module.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None)
        module.Module = type("Module", (), {})  # type: ignore[attr-defined]
        sys.modules["tensorflow"] = module
