"""From a user's options to a planner: label columns and files of pairs are read here, so that sampling stays pure."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep.dataset import Dataset, LabelColumn
from avprep.dataset.joined import JoinedDataset
from avprep.shared.errors import UserError, first_line
from avtrain.config.rules import is_own_strategy
from avtrain.data.own_strategy import OwnStrategy, own_strategy
from avtrain.data.several import dataset_numbers, drawn_clips
from avtrain.sampling import ClipTable, LabelLists, Pairs, Shares, Strategy, parse_strategy

PAIRS_PREFIX, WEIGHTS = "pairs:", ":weights="
PAIR_WEIGHTS = ("draw", "loss", "partner")

log = logging.getLogger(__name__)


def training_table(
    dataset: Dataset,
    labels: str = "label",
    split: str = "train",
    sounds_alone: bool = False,
    confidence: bool = False,
) -> ClipTable:
    """The rows of a split with their labels of the column `labels` (one, or any number a clip), for planning.

    `confidence`: with the column's probabilities too.

    Errors: UserError where there is no such split or column, no probabilities in it, or, unless `sounds_alone`, a clip
    without picture (it cannot be the picture of a pair, and to leave it out in silence would change the data).
    """
    rows = dataset.rows_of(split)
    blind = rows[dataset.num_frames[rows] == 0]
    if len(blind) and not sounds_alone:
        raise UserError(
            f"{dataset.folder} has {len(blind)} {split} clips without picture, such as {dataset.clip_ids[blind[0]]}; "
            f"take them out with 'avprep exclude', or of the manifest's {split} split."
        )
    if isinstance(dataset, JoinedDataset):
        _check_each(dataset, labels, rows, split)
    known = dataset.label_probabilities(labels)[rows] if confidence else None
    return dataclasses.replace(table_of(rows, dataset.labels(labels)), confidence=known)


def _check_each(dataset: JoinedDataset, labels: str, rows: np.ndarray, split: str) -> None:
    """UserError where one of the datasets has no clip in `rows`; a warning where one has no label column `labels`."""
    for part, own in dataset.by_part(rows):
        if not len(own):
            raise UserError(f"{part.folder} has no {split} clip here, so it would have no part; leave it out.")
        if not part.has_labels(labels):
            log.warning("%s has no label column %r; its clips count as clips without label", part.folder, labels)


def table_of(rows: np.ndarray, column: LabelColumn) -> ClipTable:
    """The table of some rows of a dataset with their labels of a column."""
    lists = None if column.lists is None else LabelLists(column.lists.begins, column.lists.values).take(rows)
    return ClipTable(rows, column.values[rows], lists)


def strategy_of(text: str, dataset: Dataset, table: ClipTable) -> Strategy:
    """The strategy that `text` names: `soft-positive:p=0.5`, `pairs:FILE` or `package:Class`.

    Of several datasets with weights, over the clips that an epoch draws. Errors: UserError.
    """
    try:
        if text.startswith(PAIRS_PREFIX):
            path, weights = _file_and_setting(text.removeprefix(PAIRS_PREFIX))
            strategy: Strategy = pairs_of(Path(path), dataset, table, weights)
        else:
            strategy = own_strategy(text) if is_own_strategy(text) else parse_strategy(text)
    except ValueError as error:
        raise UserError(str(error)) from None
    if isinstance(dataset, JoinedDataset) and any(weight != 1 for weight in dataset.weights):
        return _with_shares(text, strategy, dataset, table)
    return strategy


def _with_shares(text: str, strategy: Strategy, dataset: JoinedDataset, table: ClipTable) -> Shares:
    """The strategy over the clips that the weights of the datasets draw. Errors: UserError where it cannot be."""
    if isinstance(strategy, Pairs | OwnStrategy):
        raise UserError(f"Strategy {text} chooses clips itself, so datasets have no weights with it; leave them out.")
    withheld = not np.array_equal(strategy.known_labels(table, 0), table.labels)
    lists = strategy.known_lists(table, 0)
    if withheld or (table.lists is not None and lists is not None and len(lists.values) < len(table.lists.values)):
        raise UserError(
            f"Strategy {text} withholds labels by the clips that there are, and weights draw other clips each epoch; "
            "withhold them with 'avtrain hide-labels' for each dataset and name that column with --labels."
        )
    of = dataset_numbers(dataset, table)
    for number, (part, weight) in enumerate(zip(dataset.parts, dataset.weights, strict=True)):
        clips = int(np.count_nonzero(of == number))
        if not drawn_clips(clips, weight):
            raise UserError(
                f"The weight {weight:g} of {part.folder} draws none of its {clips} clips; choose a larger one."
            )
    return Shares(strategy, dataset.row_bounds[1:].astype(np.int64), np.array(dataset.weights, np.float64))


def steps_of(strategy: Strategy, table: ClipTable, batch_size: int, world_size: int = 1) -> int:
    """Batches in an epoch. Errors: UserError where the strategy cannot fill them, or a rank would go without a pair.

    One of the user's own is tried first: see OwnStrategy.check.
    """
    if isinstance(strategy, OwnStrategy):
        strategy.check(table, batch_size)
    try:
        steps, smallest = strategy.steps(table, batch_size), strategy.smallest_batch(table, batch_size)
    except ValueError as error:
        raise UserError(str(error)) from None
    if world_size > smallest:
        raise UserError(
            f"{world_size} ranks cannot share a batch of {smallest} pairs, the smallest of an epoch; "
            f"use {smallest} ranks at most, or another batch size."
        )
    return steps


def _file_and_setting(text: str) -> tuple[str, str]:
    """(FILE, what its weights are for) of `FILE` or `FILE:weights=loss`. Errors: ValueError."""
    path, setting, value = text.rpartition(WEIGHTS)
    if not setting:
        return text, PAIR_WEIGHTS[0]
    if value not in PAIR_WEIGHTS:
        raise ValueError(f"Setting weights of strategy pairs is draw, loss or partner, not {value!r}.")
    return path, value


def pairs_of(path: Path, dataset: Dataset, table: ClipTable, weights: str = PAIR_WEIGHTS[0]) -> Pairs:
    """The pairs of a Parquet file: clip ids in the columns `audio` and `video`, optional numbers in `weight`.

    They are drawn by their weight (`draw`), count by it (`loss`), or each sound draws one of its pictures by it
    (`partner`). Errors: UserError naming the file and what is wrong: columns, ids that are not in the table, weights.
    """
    audio, video, numbers = pairs_in_file(path, dataset, table, "weight")
    try:
        return Pairs(audio, video, numbers, in_loss=weights == "loss", by_sound=weights == "partner")
    except ValueError as error:
        raise UserError(f"{path} cannot be used: {error}") from None


def pairs_in_file(
    path: Path, dataset: Dataset, table: ClipTable, number: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(dataset rows of the sounds, of the pictures, the float64 of the column `number` or None) of a Parquet file.

    Errors: UserError naming the file and what is wrong: columns, ids that are not in the table, what is no number.
    """
    try:
        pairs = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} cannot be read as Parquet ({first_line(error)}).") from None
    missing = {"audio", "video"} - set(pairs.column_names)
    if missing:
        raise UserError(f"{path} has no column {sorted(missing)[0]!r}; pairs need clip ids in 'audio' and 'video'.")
    clip_ids = dataset.clip_ids
    known = pa.array([clip_ids[row] for row in table.rows], pa.string())
    audio, video = (table.rows[_positions(path, name, pairs.column(name), known)] for name in ("audio", "video"))
    if number not in pairs.column_names:
        return audio, video, None
    try:
        return audio, video, pairs.column(number).cast(pa.float64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # text, or a type that has no numbers
        raise UserError(f"{path} has {number}s that are not numbers.") from None


def _positions(path: Path, name: str, column: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """int64 positions of a column's clip ids among those known; 7.0 is the clip '7'."""
    if pa.types.is_floating(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            raise UserError(f"{path} has clip ids in {name!r} that are not whole numbers; store ids as text.") from None
    positions = pc.index_in(column.cast(pa.string()), value_set=known).combine_chunks()
    strangers = column.filter(positions.is_null())
    if len(strangers):
        raise UserError(
            f"{path} names {len(strangers)} clips in {name!r} that are not in the split to train on, "
            f"such as {strangers[0].as_py()!r}."
        )
    return positions.to_numpy().astype(np.int64)
