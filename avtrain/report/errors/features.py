"""Features of the test clips by the encoder that an evaluation measured, in two dimensions and by their neighbours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avprep.shared.waiting import waiting
from avtrain.config import EvaluateConfig
from avtrain.report.errors.judged import Judged
from avtrain.runs.folder import CONFIG

MAP_CLIPS = 1500
MAP_DRAW = 0x3A9D  # stream of random numbers; never change it
PERPLEXITY = 30
NEIGHBOURS = 10
FEWEST = 5


@dataclass(frozen=True)
class Neighbours:
    """Of which classes the `count` nearest other clips are."""

    count: int
    right_alike: float
    """mean share of their own class around clips that are predicted right"""
    among_own: int
    """clips that are predicted wrong, of whose neighbours most are of their own class"""
    among_predicted: int
    """clips that are predicted wrong, of whose neighbours most are of the class that they are taken for"""
    one_group: float | None
    """mean share of neighbours of a clip's own group; None: without groups"""


def drawn(clips: int, seed: int) -> np.ndarray:
    """Positions int64, in order, of at most MAP_CLIPS of the test clips, drawn by the seed."""
    return np.sort(np.random.default_rng([seed, MAP_DRAW]).permutation(clips)[:MAP_CLIPS])


def features_of(judged: Judged, dataset: Dataset, positions: np.ndarray, device: str) -> tuple[np.ndarray, str]:
    """(features float32 [M, D] of whole clips, each dimension of mean 0 and deviation 1, which they are in words).

    They are those that the evaluation classified, by the same checkpoint; of `finetune`, those before it. Errors:
    UserError where the encoder was not kept, or there are too few clips.
    """
    from avtrain.data.reader import Reader
    from avtrain.evaluation.evaluate import source_of
    from avtrain.evaluation.features import clip_features
    from avtrain.evaluation.sides import encoder_of
    from avtrain.models.encoder import place

    if len(positions) < FEWEST:
        raise UserError(f"a map needs {FEWEST} test clips")
    saved = judged.result["config"]
    known = {name: saved[name] for name in EvaluateConfig.__dataclass_fields__ if name in saved}
    config = EvaluateConfig(**known)
    with _checkpoint(judged) as (folder, meta), Reader(dataset) as reader:
        encoder = place(encoder_of(dataset, config, folder, meta), device)
        source = source_of(dataset, reader, config, folder, meta, device)
        features = clip_features(encoder, source, judged.rows[positions]).cpu().numpy()
    deviation = features.std(axis=0)
    if not (deviation > 0).any():
        raise UserError("the encoder's features of all test clips are the same")
    what = f"features of {judged.result.get('encoder', 'the encoder')}"
    what += ", before the evaluation trained it further" if config.protocol == "finetune" else ""
    return (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1), what


@contextlib.contextmanager
def _checkpoint(judged: Judged) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The checkpoint that was evaluated, and its meta.json; of the hub, that of the revision that was evaluated.

    Errors: UserError where it is not there.
    """
    from avtrain.inference.as_checkpoint import as_checkpoint
    from avtrain.runs.load import checkpoint_of

    result = judged.result
    if "revision" in result:
        with as_checkpoint(f"{result['run']}@{result['revision']}") as published:
            yield checkpoint_of(published.checkpoint)
        return
    yield _of_run(judged)


def _of_run(judged: Judged) -> tuple[Path, dict[str, Any]]:
    from avtrain.runs import checkpoint
    from avtrain.runs.load import checkpoint_of, identity_of

    result = judged.result
    if result.get("run") is None:
        raise UserError("the evaluated encoder is of no run, and was not kept")
    run = judged.folder.resolve().parent.parent
    if not (run / CONFIG).is_file():
        raise UserError(f"{judged.folder} does not lie in the eval/ of the run {result['run']}, which has the encoder")
    weights = result["config"].get("weights", "raw")
    for folder in checkpoint.checkpoints(run):
        if checkpoint.step_of(folder) == result["step"]:
            folder, meta = checkpoint_of(folder)
            if identity_of(folder, meta, weights)["model_sha256"] == result["model_sha256"]:
                return folder, meta
    raise UserError(
        f"{run} no longer holds the checkpoint of step {result['step']} that was evaluated; evaluate it again"
    )


def flat(features: np.ndarray, seed: int) -> np.ndarray:
    """Coordinates float [M, 2], x from 0 to 1 and y less far, by t-SNE (van der Maaten and Hinton 2008)."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    with waiting("map of the clips"):
        xy = tsne.fit_transform(features).astype(np.float64)
    extent = np.ptp(xy, axis=0)
    turned = (xy - xy.min(axis=0))[:, np.argsort(-extent)]  # wider than high
    return turned / max(float(extent.max()), 1e-12)


def neighbours_of(
    features: np.ndarray, label: np.ndarray, predicted: np.ndarray, groups: np.ndarray | None
) -> Neighbours:
    """Of which classes and groups [M] the nearest other clips are, by Euclidean distance of the features [M, D]."""
    squares = (features**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * features @ features.T
    np.fill_diagonal(distances, np.inf)
    count = min(NEIGHBOURS, len(features) - 1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
    own, other = ((label[nearest] == of_clip[:, None]).mean(axis=1) for of_clip in (label, predicted))
    wrong = label != predicted
    return Neighbours(
        count,
        float(own[~wrong].mean()) if not wrong.all() else 0.0,
        int((own[wrong] > 0.5).sum()),
        int((other[wrong] > 0.5).sum()),
        None if groups is None else float((groups[nearest] == groups[:, None]).mean()),
    )
