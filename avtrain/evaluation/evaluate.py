"""avtrain evaluate: what an encoder has learnt, by a linear layer or neighbours on it, or by training it further.

A fifth of the train split's groups (splits.py) chooses epoch, learning rate or k; the test split is seen once, each
clip in full length and, beside that, as windows of the length that was fitted on.
Log-mel is normalised with the dataset's own train statistics.
"""

from __future__ import annotations

import dataclasses
import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from avprep.dataset import Dataset, LabelColumn
from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.config import EvaluateConfig
from avtrain.data.clips import WINDOW_MEL_FRAMES
from avtrain.data.folds import folded
from avtrain.data.reader import Reader
from avtrain.data.splits import Split, split_rows
from avtrain.evaluation import predictions
from avtrain.evaluation.audible import audible_classes, audible_scores
from avtrain.evaluation.features import Source
from avtrain.evaluation.finetune import Fitting, fit_encoder
from avtrain.evaluation.knn import knn
from avtrain.evaluation.labelled import (
    WINDOWS_SCORES,
    AnyPredictions,
    check_labels,
    labels_digest,
    predictions_by,
    scores_of,
    unfitted_in,
    write_any_predictions,
)
from avtrain.evaluation.linear import linear
from avtrain.evaluation.sides import OF, check_side, encoder_of, takes_any_length
from avtrain.evaluation.unfitted import scores_of_fitted, sentence_of
from avtrain.models.encoder import place
from avtrain.runs.checkpoint import AVERAGED
from avtrain.runs.data_spec import normaliser, window_known
from avtrain.runs.load import checkpoint_of, identity_of, weights_of
from avtrain.runs.trained_on import overlap_with_training
from avtrain.sampling.windows import WindowSpec

RELEASED_DROPOUT = 0.5
RESULT = "result.json"
DEFAULTS = {**configs.to_dict(EvaluateConfig()), "weights": "raw"}
"""what holds of settings that the config of an earlier version's evaluation does not have"""

log = logging.getLogger(__name__)


def evaluate(
    dataset_dir: Path | str,
    config: EvaluateConfig,
    *,
    run: Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
    identity: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure the encoder of `run`, or both as config.side has it (linear, knn without a run: an untrained one).

    Returns scores (metrics.classification_scores), what was chosen, `encoder` (which one was measured) and `unfitted`
    (unfitted.scores_of_fitted). With `out`, they are also out/result.json, and each test clip's probabilities
    out/predictions.parquet. `identity` replaces what load.identity_of returns of the checkpoint. Errors: UserError,
    also where `out` holds the evaluation of another checkpoint or of other settings.
    """
    dataset = folded(Dataset(dataset_dir), config.fold_column, config.fold)
    column = dataset.labels(config.labels)
    split = split_rows(
        dataset,
        how=config.split,
        share=config.validation_share,
        label_fraction=config.label_fraction,
        seed=config.seed,
        column=None if config.labels == EvaluateConfig.labels else column,
    )
    check_labels(column, config)
    audible = audible_classes(dataset, config.audible, split.test, column) if config.audible else None
    unfitted = unfitted_in(column, split.fit, split.test)
    if unfitted["clips"]:
        log.warning("%s", sentence_of(unfitted, len(split.test)))
    measured: dict[str, Any] = {"run": None, "step": 0}
    weights = "raw"
    folder: Path | None = None
    meta: dict[str, Any] = {}
    if run is not None:
        folder, meta = checkpoint_of(run, config.checkpoint)
        models = {name: meta["config"].get(name, "") for name in ("model_size", "audio_model")}
        config = dataclasses.replace(config, **models)
        weights = weights_of(folder, meta, config.weights)
        measured = identity or identity_of(folder, meta, weights)
    config = dataclasses.replace(config, weights=weights)
    check_side(dataset, config, folder, meta)
    settings = {"config": configs.to_dict(config), "dataset_digest": dataset.digest, **measured}
    if audible is not None:
        settings["audible_digest"] = configs.digest(np.argwhere(audible).tolist())
    if config.labels != EvaluateConfig.labels:
        settings["labels_digest"] = labels_digest(column)
    if config.fold_column:
        settings["folds_digest"] = labels_digest(dataset.labels(config.fold_column))
    home = None if folder is None else folder.parent
    trained_on = overlap_with_training(home, dataset, split.test, shown=identity["run"] if identity else None)
    torch.manual_seed(config.seed)
    encoder = place(encoder_of(dataset, config, folder, meta), device)
    with Reader(dataset) as reader:
        source = source_of(dataset, reader, config, folder, meta, device, column)
        with held_for(out, settings):
            chosen, probabilities = _measure(encoder, source, split, config)
    shares = probabilities.cpu().numpy()
    lost = split.test[np.unique(np.flatnonzero(~np.isfinite(shares).all(axis=1)) % len(split.test))]
    if len(lost):
        raise UserError(
            f"The probabilities of {len(lost):,} test clips are not finite, such as of {dataset.clip_ids[lost[0]]}; "
            "nor are the encoder's features, as after training that went too far; take an earlier checkpoint."
        )
    whole, of_windows = shares[: len(split.test)], shares[len(split.test) :]
    ids, clusters = [dataset.clip_ids[row] for row in split.test], dataset.clusters[split.test]
    predicted = predictions_by(column, split.test, ids, whole, clusters)
    result = {
        "protocol": config.protocol,
        "encoder": encoder_named(config, measured),
        **scores_of(predicted, config.seed),
        "test_clips": len(split.test),
        "fit_clips": len(split.fit),
        "validation_clips": len(split.validation),
        "seen_in_training": trained_on,
        "unfitted": scores_of_fitted(unfitted, predicted),
        "windows": windows_scores(of_windows, predicted, config, source) if len(of_windows) else None,
        **chosen,
        **settings,
        "class_names": column.class_names,
    }
    result["per_class"] = [
        {"class": name, **entry} for name, entry in zip(column.class_names, result["per_class"], strict=True)
    ]
    if audible is not None and isinstance(predicted, predictions.Predictions):
        result["audible"] = {"column": config.audible, **audible_scores(audible, predicted)}
    if out is not None:
        write_any_predictions(out / predictions.FILE, predicted)
        store.write_json(out / RESULT, result)
    return result


def source_of(
    dataset: Dataset,
    reader: Reader,
    config: EvaluateConfig,
    folder: Path | None,
    meta: dict[str, Any],
    device: str,
    column: LabelColumn | None = None,
) -> Source:
    """What an evaluation of these settings gives the encoder of the checkpoint in `folder` with its meta.json.

    Errors: UserError where there are no statistics of log-mel.
    """
    return Source(
        dataset,
        reader,
        normaliser(dataset, config.norm, folder, meta).to(device),
        device,
        round(config.window_seconds * WINDOW_MEL_FRAMES),
        column,
        config.test_windows,
        config.side,
        WindowSpec() if config.side == "audio" else window_known(meta, dataset),
        takes_any_length(meta),
    )


def windows_scores(
    probabilities: np.ndarray, whole: AnyPredictions, config: EvaluateConfig, source: Source
) -> dict[str, Any]:
    """What result.json has under `windows`: scores of the same test clips by the mean features of their windows."""
    scores = scores_of(dataclasses.replace(whole, probabilities=probabilities), config.seed)
    kept = ("accuracy", "interval_95", "interval_by", "top_5", "mean_average_precision", "balanced_accuracy")
    kept = kept if isinstance(whole, predictions.Predictions) else WINDOWS_SCORES
    spec = source.spec
    length = spec.picture_frames / spec.frame_rate_hz if config.side == "video" else config.window_seconds
    seconds = {"test_windows": config.test_windows, "window_seconds": length}
    return {**seconds, **{name: scores[name] for name in kept}}


def held_for(out: Path | None, settings: dict[str, Any]) -> AbstractContextManager[None]:
    """Within it, the folder of an evaluation of these settings is this process's own; without a folder, nothing."""
    return nullcontext() if out is None else configs.held(out / "config.json", settings, "evaluation", RESULT, DEFAULTS)


def _measure(
    encoder: nn.Module, source: Source, split: Split, config: EvaluateConfig
) -> tuple[dict[str, Any], torch.Tensor]:
    """(what was chosen, class probabilities [test, classes]) by the protocol."""
    released = config.protocol == "linear" and config.probe == "released"
    fitting = Fitting(
        epochs=config.epochs,
        patience=config.patience,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        dropout=RELEASED_DROPOUT if released else config.dropout,
        frozen=released,
        windows_per_clip=config.windows_per_clip,
        balance=config.balance,
        spec_augment=config.spec_augment,
        seed=config.seed,
    )
    if config.protocol == "knn":
        return knn(encoder, source, split, config.windows_per_clip)
    if config.protocol == "linear" and not released:
        return linear(encoder, source, split, fitting)
    return fit_encoder(encoder, source, split, fitting, config.protocol)


def encoder_named(config: EvaluateConfig, measured: dict[str, Any]) -> str:
    """Which encoder was measured, in words: that of a run at a step, an untrained one, or one trained from scratch."""
    of = OF[config.side] and f",{OF[config.side]}"
    if measured["run"] is not None:
        average = ", moving average of the weights" if config.weights == "ema" else ""
        if AVERAGED in measured:
            average = f", mean of the checkpoints of steps {', '.join(map(str, measured[AVERAGED]))}"
        revision = f"@{measured['revision']}" if "revision" in measured else ""
        return f"run {measured['run']}{revision}, step {measured['step']}{of}{average}"
    return f"{'trained from scratch' if config.protocol == 'supervised' else 'untrained'}, seed {config.seed}{of}"
