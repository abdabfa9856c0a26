"""Labels of training clips held against a run's features: wrong ones changed or set aside, missing ones given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset, LabelColumn
from avprep.labels.columns import claim_column, path_of, write_labels
from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.config import CleanConfig
from avtrain.stages.confident import confident, folds_of, out_of_sample, probabilities_of
from avtrain.stages.counts import counts_of, truth_of
from avtrain.stages.features import Features, check_media, features_of, sides_of
from avtrain.stages.nearest import nearest
from avtrain.stages.opened import SPLIT, known_labels, opened_for, record_of, settings_of
from avtrain.stages.verdicts import NONE, Verdict, decided, voted

CLEAN, PROPAGATE = "clean-labels", "propagate-labels"
COUNTED_BY = {CLEAN: "given", PROPAGATE: "new"}


def relabel(
    dataset_dir: Path,
    run: Path | None,
    name: str,
    config: CleanConfig,
    command: str = CLEAN,
    *,
    compare: str = "",
    replace: bool = False,
    device: str = "cpu",
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Write the label column `name` of a dataset from the labels that a run knew; returns counts.counts_of it.

    `run` is None for `by="log-mel"`, which needs none and takes all labels.
    `clean-labels` judges the training clips that have a label: each keeps it, gets another or has none. With
    `propagate-labels` they keep theirs and the training clips without one are judged. Clips of other splits keep their
    labels. The column has the `probability` of each label. A column of this very making is left as it is.
    Errors: UserError; Interrupted once `stopping()`, with nothing written.
    """
    dataset = Dataset(dataset_dir)
    opened = opened_for(dataset, run, config)
    source, column = known_labels(dataset, opened, config.labels)
    for other in (source, compare):
        if name == other:
            raise UserError(f"{name!r} is a column that the command reads; give another --name.")
    truth = truth_of(dataset, compare, column.class_names) if compare else None
    rows, sides = dataset.rows_of(SPLIT), sides_of(config.by)
    given = column.values[rows]
    judged = np.flatnonzero(given == NONE if command == PROPAGATE else given != NONE)
    _check_labels(dataset, source, column, given, judged, config, command)
    check_media(dataset, opened, rows, sides)
    settings = {**settings_of(config), "labels": source}
    origin = claim_column(
        dataset,
        name,
        {
            "command": command,
            **settings,
            **record_of(opened),
            "labels_sha256": configs.digest([column.class_names, column.values.tolist()]),
        },
        replace,
    )
    if origin is not None:
        features = features_of(dataset, opened, rows, config, sides, device=device, stopping=stopping)
        made = relabelled(features, given, len(column.class_names), config, judged)
        values, probability = column.values.copy(), np.ones(len(dataset), np.float32)
        values[rows[judged]], probability[rows[judged]] = made
        write_labels(dataset, name, LabelColumn(values, column.class_names), origin, probability=probability)
    new = dataset.labels(name).values[rows]
    counts = counts_of(given, new, column.class_names, COUNTED_BY[command], None if truth is None else truth[rows])
    return {"column": str(path_of(dataset, name)), "labels": source, "compare": compare or None, **counts}


def relabelled(
    features: Features, given: np.ndarray, classes: int, config: CleanConfig, judged: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(label int32, probability float32) of the clips at the positions `judged`, by the labels `given` int32 [N]."""
    groups = [("audio",), ("video",)] if config.by == "cross" else [sides_of(config.by)]
    judge = _by_votes if config.method == "vote" else _by_classifier
    verdicts = [judge([features[side] for side in group], given, classes, config, judged) for group in groups]
    return decided(given[judged], verdicts, config.take)


def _by_votes(
    sides: list[np.ndarray], given: np.ndarray, classes: int, config: CleanConfig, judged: np.ndarray
) -> Verdict:
    """What the nearest other clips with a label vote."""
    voters = np.flatnonzero(given != NONE)
    own = np.full(len(given), -1, np.int64)
    own[voters] = np.arange(len(voters))
    queries, bank = [side[judged] for side in sides], [side[voters] for side in sides]
    positions, similarities = nearest(queries, bank, config.neighbours, own[judged])
    labels = given[voters]
    sizes = np.bincount(labels, minlength=classes)
    options = {"temperature": config.temperature, "balance": config.balance}
    return voted(labels[positions], similarities, given[judged], sizes, **options)  # type: ignore[arg-type]


def _by_classifier(
    sides: list[np.ndarray], given: np.ndarray, classes: int, config: CleanConfig, judged: np.ndarray
) -> Verdict:
    """What classifiers make of clips that they were not fitted on; clips with a label by confident learning."""
    features, own = np.concatenate(sides, axis=1), given[judged]
    if (own != NONE).all():
        fold = folds_of(own, config.folds, config.seed)
        return confident(out_of_sample(features[judged], own, fold, classes, config.inverse_penalty), own)
    labelled = np.flatnonzero(given != NONE)
    made = probabilities_of(features[labelled], given[labelled], features[judged], classes, config.inverse_penalty)
    return Verdict(made.argmax(axis=1).astype(np.int32), made.max(axis=1))


def _check_labels(
    dataset: Dataset,
    name: str,
    column: LabelColumn,
    given: np.ndarray,
    judged: np.ndarray,
    config: CleanConfig,
    command: str,
) -> None:
    """UserError where there is nothing to judge, or too little to judge by."""
    sizes = np.bincount(given[given != NONE], minlength=len(column.class_names))
    of_run = not config.labels and config.by != "log-mel"
    known = f"labels in {name!r} that the run knew" if of_run else f"labels in {name!r}"
    if np.count_nonzero(sizes) < 2:
        raise UserError(
            f"The training clips of {dataset.folder} have {known} of {np.count_nonzero(sizes)} classes, and the "
            "command needs two or more; name another column by --labels."
        )
    if not len(judged):
        raise UserError(f"All training clips of {dataset.folder} have a label in {name!r}; there is none to give.")
    voters = int(sizes.sum()) - (command == CLEAN)
    if config.method == "confident":
        least = int(sizes[sizes > 0].min())
        if command == CLEAN and config.folds > sizes.sum():
            raise UserError(
                f"{config.folds} folds are more than the {sizes.sum()} clips with a label; use fewer --folds."
            )
        if command == CLEAN and least < 2:
            alone = column.class_names[int(np.flatnonzero(sizes == 1)[0])]
            raise UserError(
                f"Label {alone!r} has one clip, so no classifier can learn it from others; use --method vote."
            )
        return
    if config.neighbours > voters:
        raise UserError(
            f"{config.neighbours} neighbours are more than the {voters} training clips that can vote; use fewer "
            "--neighbours."
        )
    alike = not config.temperature and not config.balance
    if command == PROPAGATE and alike and int(sizes.max()) < round(config.take * config.neighbours, 9):
        raise UserError(
            f"No label has the {config.take:g} of {config.neighbours} clips that --take asks for, the largest has "
            f"{sizes.max()}; use fewer --neighbours, a smaller --take or a --temperature such as 0.1."
        )
