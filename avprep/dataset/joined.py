"""Several finished datasets of the same features as one, in memory: no shard is copied or moved.

Rows, shards and splits of the first come first. Class names and label columns are joined by name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avprep import schema
from avprep.dataset import Dataset, LabelColumn, ListedLabels
from avprep.shared import configs
from avprep.shared.errors import UserError, some_of
from avprep.shared.remote import RemotePath
from avprep.shared.values import speaking_of

COLUMNS = ("frames_offset", "frames_bytes", "num_frames", "logmel_offset", "num_mel_frames")
TRAIN = "train"

log = logging.getLogger(__name__)


class Folders:
    """What a joined dataset has for its folder: the text names all folders, and nothing lies below it."""

    def __init__(self, folders: Sequence[Path | RemotePath]) -> None:
        self._folders = list(folders)

    def __str__(self) -> str:
        return " + ".join(map(str, self._folders))

    def __truediv__(self, inside: str) -> NoReturn:
        raise UserError(f"{self} are several datasets, and this needs one; 'avprep merge' makes one of them.")


class JoinedDataset(Dataset):
    """The datasets `parts` as one, each with a weight that is kept for whoever draws clips.

    Clip ids stay as they are, unless one is in two datasets: then all begin with the name of their dataset and a slash.
    Groups and clusters of one name are one. Log-mel statistics are those of all clips of the train splits, whatever the
    weights. Errors: UserError where two are the same dataset, or have frames or log-mel of other settings.
    """

    def __init__(self, parts: Sequence[Dataset], weights: Sequence[float] = ()) -> None:
        self.parts, self.weights = list(parts), list(weights) or [1.0] * len(parts)
        self.folder = Folders([part.folder for part in parts])  # type: ignore[assignment]
        _check(self.parts)
        last = [part.name for part in parts]
        self.names = last if len(set(last)) == len(last) else [str(part.folder) for part in parts]
        self.row_bounds = np.cumsum([0, *map(len, parts)])
        self.shard_bounds = np.cumsum([0, *(len(part.shards) for part in parts)])
        class_names, self.label = _by_name([part.class_names for part in parts], [part.label for part in parts])
        self.splits, self.split = _by_name([part.splits for part in parts], [part.split for part in parts])
        self.shards = [f"{number}/{path}" for number, part in enumerate(parts) for path in part.shards]
        of_shard = [part.shard + begin for part, begin in zip(parts, self.shard_bounds, strict=False)]
        self.shard = np.concatenate(of_shard).astype(np.int32)
        for name in COLUMNS:
            setattr(self, name, self._joined(name))
        facts = [part.info["shards"][path] for part in parts for path in part.shards]
        first = parts[0].info
        self.info = {name: first[name] for name in ("format", "video", "audio")} | {
            "class_names": class_names,
            "shards": dict(zip(self.shards, facts, strict=True)),
        }

    @property
    def name(self) -> str:
        """The names of the datasets with their weights, such as `a + b:0.5`."""
        each = zip(self.names, self.weights, strict=True)
        return " + ".join(name if weight == 1 else f"{name}:{weight:g}" for name, weight in each)

    @property
    def records(self) -> list[dict[str, Any]]:
        """What a run records of each dataset: name, digest, weight."""
        each = zip(self.names, self.parts, self.weights, strict=True)
        return [{"name": name, "digest": part.digest, "weight": weight} for name, part, weight in each]

    @property
    def digest(self) -> str:
        """Hex sha256 over the digests of all datasets, in order."""
        return configs.digest([part.digest for part in self.parts])

    def by_part(self, rows: np.ndarray) -> Iterator[tuple[Dataset, np.ndarray]]:
        """(dataset, those of `rows` that are its own, as its own rows) of each dataset."""
        of = np.searchsorted(self.row_bounds, rows, side="right") - 1
        for number, part in enumerate(self.parts):
            yield part, rows[of == number] - self.row_bounds[number]

    @property
    def local_folder(self) -> Path:
        """Errors: UserError; there is no one folder."""
        return self.folder / ""  # type: ignore[return-value]

    def changes_since(self, digest: object, of: str = "digest_before") -> list[dict[str, Any]]:
        """None: each dataset has changes of its own."""
        return []

    def shard_file(self, number: int) -> Path | RemotePath:
        """Where a shard lies, by its number in `shards`."""
        part = int(np.searchsorted(self.shard_bounds, number, side="right")) - 1
        return self.parts[part].shard_file(number - int(self.shard_bounds[part]))

    def sizes_file(self, number: int) -> Path | RemotePath:
        """Where the frame sizes of a shard lie, by its number."""
        part = int(np.searchsorted(self.shard_bounds, number, side="right")) - 1
        return self.parts[part].sizes_file(number - int(self.shard_bounds[part]))

    @cached_property
    def sizes_position(self) -> np.ndarray:
        """As Dataset.sizes_position."""
        return self._joined("sizes_position")

    @cached_property
    def duration_seconds(self) -> np.ndarray:
        """As Dataset.duration_seconds."""
        return self._joined("duration_seconds")

    @cached_property
    def av_offset_seconds(self) -> np.ndarray:
        """As Dataset.av_offset_seconds."""
        return self._joined("av_offset_seconds")

    def has_labels(self, name: str) -> bool:
        """Whether any of the datasets has the label column `name`."""
        return any(part.has_labels(name) for part in self.parts)

    def labels(self, name: str) -> LabelColumn:
        """The label column `name` of all datasets that have it; clips of the others have no label.

        It holds lists where that of one does. Errors: UserError where none has it.
        """
        if not self.has_labels(name):
            return self.parts[0].labels(name)
        columns = [part.labels(name) if part.has_labels(name) else _without_labels(len(part)) for part in self.parts]
        class_names = list(dict.fromkeys(one for column in columns for one in column.class_names))
        if any(column.lists is not None for column in columns):
            return _joined_lists(columns, sorted(class_names))
        _, values = _by_name([column.class_names for column in columns], [column.values for column in columns])
        return LabelColumn(values, class_names)

    def label_probabilities(self, name: str) -> np.ndarray:
        """As Dataset.label_probabilities; 1 for the clips of a dataset without the column."""
        if name == "label" or not self.has_labels(name):
            return self.parts[0].label_probabilities(name)
        each = [
            part.label_probabilities(name) if part.has_labels(name) else np.ones(len(part), np.float32)
            for part in self.parts
        ]
        return np.concatenate(each)

    def label_lists(self, name: str) -> list[list[str] | None]:
        """As Dataset.label_lists; None for the clips of a dataset without the column."""
        if name == "label" or not self.has_labels(name):
            return self.parts[0].label_lists(name)
        each = [part.label_lists(name) if part.has_labels(name) else [None] * len(part) for part in self.parts]
        return [labels for some in each for labels in some]

    @cached_property
    def _planned(self) -> dict[str, np.ndarray]:
        """As Dataset._planned; without `cluster` where no dataset has one."""
        each = [part._planned for part in self.parts]
        names = [name for name in ("group", "cluster") if any(name in one for one in each)]
        empty = {part: np.full(len(part), "") for part in self.parts}
        return {
            name: np.concatenate([one.get(name, empty[part]) for one, part in zip(each, self.parts, strict=True)])
            for name in names
        }

    @cached_property
    def _ids_clash(self) -> bool:
        """Whether a clip id is in two datasets; a warning names some."""
        ids = pa.chunked_array([chunk for part in self.parts for chunk in part._column("clip_id").chunks])
        counts = pc.value_counts(ids)
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            log.warning(
                "%d clip ids are in more than one of the datasets, %s; they count as different clips, whose ids begin "
                "with %s",
                len(twice),
                some_of(twice.to_pylist()),
                " or ".join(f"{name}/" for name in self.names),
            )
        return len(twice) > 0

    def _column(self, name: str) -> pa.ChunkedArray:
        columns = [part._column(name) for part in self.parts]
        if name == "clip_id" and self._ids_clash:
            columns = [
                pc.binary_join_element_wise(f"{dataset}/", column, "")
                for dataset, column in zip(self.names, columns, strict=True)
            ]
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks])

    def _joined(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in self.parts])

    def _statistic(self, name: str) -> np.ndarray:
        """Mean or deviation over the frames of the train splits of all datasets (of all, if none has one)."""
        frames, trained = [], []
        for part in self.parts:
            with speaking_of(part.folder / schema.DATASET):
                frames.append(int(part.info["logmel"]["frames"]))
                trained.append(part.info["logmel"].get("split", TRAIN) == TRAIN)
        used = [number for number in range(len(self.parts)) if trained[number] or not any(trained)]
        shares = np.array([frames[number] for number in used], np.float64)[:, None] / sum(frames[n] for n in used)
        means = np.array([self.parts[number].logmel_mean for number in used])
        mean = (shares * means).sum(0)
        if name == "mean":
            return mean
        deviations = np.array([self.parts[number].logmel_std for number in used])
        return np.sqrt((shares * (deviations**2 + (means - mean) ** 2)).sum(0))


def feature_differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Lines on the settings of frames and log-mel that differ between the `video` and `audio` of two datasets."""
    one, two = ({"video": values["video"], "audio": schema.named_downmix(values["audio"])} for values in (first, other))
    return configs.differences(one, two)


def _check(parts: Sequence[Dataset]) -> None:
    """UserError where two of the datasets are the same, or of other features."""
    seen: dict[str, Dataset] = {}
    for part in parts:
        same = seen.setdefault(part.digest, part)
        if same is not part:
            raise UserError(
                f"{same.folder} and {part.folder} are the same dataset; give it once, with a weight of 2 to have each "
                "clip twice."
            )
        changed = feature_differences(parts[0].info, part.info)
        if changed:
            raise UserError(
                f"{parts[0].folder} and {part.folder} have other features and cannot be used together; build one of "
                "them again with the options of the other:\n  " + "\n  ".join(changed)
            )


def _by_name(names: Sequence[Sequence[str]], values: Sequence[np.ndarray]) -> tuple[list[str], np.ndarray]:
    """(all names, each once, values int32 by these) of values by the names of each; below 0 stays -1."""
    joined = list(dict.fromkeys(name for some in names for name in some))
    number_of = {name: number for number, name in enumerate(joined)}
    maps = [np.array([*(number_of[name] for name in some), -1], np.int32) for some in names]
    return joined, np.concatenate([of[np.maximum(own, -1)] for of, own in zip(maps, values, strict=True)])


def _without_labels(clips: int) -> LabelColumn:
    return LabelColumn(np.full(clips, -1, np.int32), [])


def _joined_lists(columns: Sequence[LabelColumn], class_names: list[str]) -> LabelColumn:
    """The columns as one of lists; a clip of a column of one label has a list of one."""
    number_of = {name: number for number, name in enumerate(class_names)}
    sizes, values = [], []
    for column in columns:
        of = np.array([number_of[name] for name in column.class_names], np.int32)
        labels = column.values[column.values >= 0] if column.lists is None else column.lists.values
        sizes.append(column.known.astype(np.int64) if column.lists is None else np.diff(column.lists.begins))
        values.append(of[labels] if len(labels) else np.zeros(0, np.int32))
    begins = np.append(0, np.cumsum(np.concatenate(sizes))).astype(np.int64)
    flat = np.concatenate(values)
    first = np.append(flat, np.int32(-1))[np.where(begins[1:] > begins[:-1], begins[:-1], len(flat))]
    known = np.concatenate([column.known for column in columns])
    return LabelColumn(first, class_names, ListedLabels(begins, flat, known))
