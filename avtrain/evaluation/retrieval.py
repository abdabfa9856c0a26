"""Retrieval: does the sound of a clip find its own picture, or one of its class, among all others, and the reverse?

Among five clips of each class, R@1, 5 and 10 of the own partner are the measure of CAV-MAE (Gong et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from avprep.dataset import Dataset
from avprep.manifest.id_lists import read_ids
from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.draw import RETRIEVAL, fractions
from avprep.shared.errors import UserError
from avtrain.data.augment import Normalise
from avtrain.data.clips import read_pairs
from avtrain.data.folds import folded
from avtrain.data.plans import table_of
from avtrain.data.reader import Reader
from avtrain.evaluation.evaluate import RESULT, held_for
from avtrain.evaluation.finite import check_finite
from avtrain.evaluation.labelled import labels_digest
from avtrain.evaluation.ranking import retrieval_scores
from avtrain.models.encoder import place
from avtrain.models.two_tower import TwoTower
from avtrain.runs.data_spec import check_pictures, check_sounds, normaliser, window_known
from avtrain.runs.load import checkpoint_of, identity_of, load_two_tower, weights_of
from avtrain.runs.trained_on import overlap_with_training
from avtrain.sampling import ClipTable
from avtrain.sampling.windows import WindowSpec, aligned_windows

WINDOWS_PER_CLIP = 4
CLIPS_AT_ONCE = 16
PICTURES_AT_ONCE = 512


@dataclass(frozen=True)
class Among:
    """The clips to search among: those that the file `ids` names, else a split; `per_class` of each class, 0: all."""

    ids: str = ""
    per_class: int = 0
    seed: int = 0
    """of the choice of clips of each class"""


WHOLE_SPLIT = Among()


def retrieve(
    dataset_dir: Path | str,
    run: Path,
    split: str = "test",
    device: str = "cpu",
    which: str = "newest",
    out: Path | None = None,
    labels: str = "label",
    among: Among = WHOLE_SPLIT,
    weights: str = "auto",
    folds: tuple[str, str] = ("", ""),
    identity: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores of both directions among the clips of a split or a list, as in `summary`, by the checkpoint `which`.

    It is measured with its `weights` (load.weights_of); `folds` are fold column and fold (data.folds.folded);
    `identity` replaces what load.identity_of returns of the checkpoint.

    Classes are those of the label column `labels` (of several labels a clip, any common one counts); a clip that has
    none there takes no part. With `out`, they are also out/result.json. Errors: UserError, also where `out` holds
    something else.
    """
    dataset = folded(Dataset(dataset_dir), *folds)
    column, rows = dataset.labels(labels), rows_of_ids(dataset, among.ids) if among.ids else dataset.rows_of(split)
    rows = rows[column.values[rows] >= 0]
    if not len(rows):
        clips = f"clip of {among.ids}" if among.ids else f"{split} clip of {dataset.folder}"
        raise UserError(f"No {clips} has a label in {labels!r}; choose another --labels.")
    rows = some_of_each(dataset, rows, column.values[rows], among) if among.per_class else rows
    loaded = _loaded(dataset, run, rows, which, weights)
    config: dict[str, Any] = {"protocol": "retrieval", "checkpoint": which, "weights": loaded.weights}
    settings = {"config": config, "split": split, "dataset_digest": dataset.digest, **(identity or loaded.identity)}
    if among.ids:
        config["ids"] = Path(among.ids).name
        settings |= {"split": None, "ids_digest": configs.digest([dataset.clip_ids[row] for row in rows])}
    if among.per_class:
        config |= {"per_class": among.per_class, "seed": among.seed}
    if labels != "label":
        config["labels"] = labels
        settings["labels_digest"] = labels_digest(column)
    if folds[0]:
        config |= {"fold_column": folds[0], "fold": folds[1]}
        settings["folds_digest"] = labels_digest(dataset.labels(folds[0]))
    home = checkpoint_of(run, which)[0].parent
    trained_on = overlap_with_training(home, dataset, rows, shown=identity["run"] if identity else None)
    with held_for(out, settings):
        audio, video = _embedded(dataset, loaded, rows, device)
    scores = summary(audio, video, class_labels(table_of(rows, column), len(column.class_names)))
    result = {"protocol": "retrieval", **scores, "seen_in_training": trained_on, **settings}
    if out is not None:
        store.write_json(out / RESULT, result)
    return result


def rows_of_ids(dataset: Dataset, path: str) -> np.ndarray:
    """The rows int64, in the dataset's order, of the clips that a list names. Errors: UserError where it has others."""
    row_of = {clip_id: row for row, clip_id in enumerate(dataset.clip_ids)}
    listed = read_ids(Path(path), row_of, ("clip_id",))
    if listed.unknown:
        raise UserError(f"{path} names {listed.examples()}, which {dataset.folder} does not have; take them out.")
    return np.sort(np.array([row_of[clip_id] for clip_id in listed.known], np.int64))


def some_of_each(dataset: Dataset, rows: np.ndarray, labels: np.ndarray, among: Among) -> np.ndarray:
    """`among.per_class` of the rows of each label, or all that there are: those of the lowest hash of seed and id."""
    order = np.argsort(fractions([dataset.clip_ids[row] for row in rows], among.seed, RETRIEVAL))
    chosen = [order[labels[order] == one][: among.per_class] for one in np.unique(labels)]
    return rows[np.sort(np.concatenate(chosen))]


def embed_rows(
    dataset: Dataset, run: Path, rows: np.ndarray, device: str = "cpu", which: str = "newest"
) -> tuple[np.ndarray, np.ndarray]:
    """(sound, picture) embeddings float32 [rows, D] of a dataset's clips, as in `embed_clips`, in eval mode.

    Errors: UserError where the run has no checkpoint that fits, or a clip has no picture.
    """
    return _embedded(dataset, _loaded(dataset, run, rows, which), rows, device)


@dataclass(frozen=True)
class _Loaded:
    """A run's model, what makes its input, the windows that it was trained on, its `identity_of`, which weights."""

    model: TwoTower
    normalise: Normalise
    window: WindowSpec
    identity: dict[str, Any]
    weights: str


def _loaded(dataset: Dataset, run: Path, rows: np.ndarray, which: str, weights: str = "auto") -> _Loaded:
    """What is needed to embed `rows` by a run. Errors: as `embed_rows`."""
    if not (dataset.num_frames[rows] > 0).all():
        raise UserError(f"{dataset.folder} has clips without picture; retrieval needs both tracks.")
    folder, meta = checkpoint_of(run, which)
    check_sounds(folder, meta, dataset)
    check_pictures(folder, meta, dataset)
    weights = weights_of(folder, meta, weights)
    return _Loaded(
        load_two_tower(folder, meta, dataset.frame_size, weights),
        normaliser(dataset, "dataset", folder, meta),
        window_known(meta, dataset),
        identity_of(folder, meta, weights),
        weights,
    )


def _embedded(dataset: Dataset, loaded: _Loaded, rows: np.ndarray, device: str) -> tuple[np.ndarray, np.ndarray]:
    model, normalise = place(loaded.model, device), loaded.normalise.to(device)
    blocks = blocks_of(len(rows), loaded.window)
    sides = []
    with Reader(dataset) as reader, Progress(len(rows), "clips", "embeddings", from_seconds=2) as progress:
        for block in blocks:
            sides.append(embed_clips(model, dataset, reader, normalise, rows[block], loaded.window))
            progress.advance(len(block))
    audio, video = (torch.cat(side).numpy() for side in zip(*sides, strict=True))
    return audio, video


def blocks_of(clips: int, window: WindowSpec) -> list[np.ndarray]:
    """Positions of the clips that `embed_clips` shall embed together, so that the memory of pictures is bounded."""
    at_once = min(CLIPS_AT_ONCE, max(1, PICTURES_AT_ONCE // (WINDOWS_PER_CLIP * window.num_frames)))
    return np.array_split(np.arange(clips), max(1, -(-clips // at_once)))


@torch.no_grad()
def embed_clips(
    model: TwoTower, dataset: Dataset, reader: Reader, normalise: Normalise, rows: np.ndarray, window: WindowSpec
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sound, picture) embeddings float [clips, D] on the CPU, of length 1: means over 4 evenly spread window pairs.

    The model runs in the mode that it is in. Errors: UserError where embeddings are not finite.
    """
    device = normalise.video_mean.device
    repeated = np.repeat(rows, WINDOWS_PER_CLIP)
    through = np.tile(np.linspace(0, 1, WINDOWS_PER_CLIP, endpoint=False) + 0.5 / WINDOWS_PER_CLIP, len(rows))
    windows = aligned_windows(dataset.num_frames[repeated], through, window, dataset.mel_rates_hz[repeated])
    plan = np.stack([repeated, repeated], axis=1)
    frames, logmel = read_pairs(dataset, reader, plan, windows, window)
    video = model.embed_video(normalise.video(torch.from_numpy(frames).to(device)))
    audio = model.embed_audio(normalise.audio(torch.from_numpy(logmel).to(device)))
    for embedded in (audio, video):
        check_finite(embedded, dataset, repeated)
    return _of_clips(audio), _of_clips(video)


def class_labels(table: ClipTable, classes: int) -> np.ndarray:
    """The labels of a table for retrieval_scores: int [N], or bool [N, classes] where a clip may have several."""
    return table.labels if table.lists is None else table.lists.matrix(classes)


def summary(audio: np.ndarray, video: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """ranking.retrieval_scores of embeddings [N, D] and class_labels, and means of both directions.

    Those are `recall_at_1`, `recall_at_5` (own partner) and `class_recall_at_1` (any clip of the same class).
    """
    scores = retrieval_scores(audio, video, labels)
    both = scores["audio_to_video"], scores["video_to_audio"]
    return {
        "recall_at_1": sum(way["pair"]["recall_at_1"] for way in both) / 2,
        "recall_at_5": sum(way["pair"]["recall_at_5"] for way in both) / 2,
        "class_recall_at_1": sum(way["class"]["recall_at_1"] for way in both) / 2,
        "chance_at_1": 1 / len(labels),
        **scores,
    }


def _of_clips(windows: torch.Tensor) -> torch.Tensor:
    return F.normalize(windows.view(-1, WINDOWS_PER_CLIP, windows.shape[1]).mean(dim=1), dim=1).cpu()
