"""Opens a dataset folder: index columns as arrays, labels, statistics, single clips."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep import schema
from avprep.dataset import integrity
from avprep.dataset.history import since
from avprep.dataset.label_columns import (
    LabelColumn,
    ListedLabels,
    check_single,
    read_label_lists,
    read_labels,
    read_probabilities,
)
from avprep.dataset.reading import (
    UNREADABLE,
    categories,
    index_columns,
    read_array,
    repair,
    source_of,
)
from avprep.shared import configs, jpeg, names, store
from avprep.shared.arrow import integers, numbers_of
from avprep.shared.errors import UserError, first_line
from avprep.shared.jpeg import decode_all
from avprep.shared.remote import RemotePath, path_of
from avprep.shared.values import ALTERED, speaking_of

__all__ = ["Dataset", "LabelColumn", "ListedLabels", "WholeClip", "check_single", "decode_all", "repair"]


@dataclass(frozen=True)
class WholeClip:
    """frames uint8 [T, H, W, 3] (None for sound only) and logmel float16 [F, M] of one clip."""

    frames: np.ndarray | None
    logmel: np.ndarray


class Dataset:
    """A finished dataset folder, or the URL of one: http(s)://, s3://, gs://, memory://.

    Columns are numpy arrays over rows (one row a clip); strings are read when asked for.
    Errors: UserError where the folder is not a finished dataset of this format.
    """

    label: np.ndarray
    frames_offset: np.ndarray
    frames_bytes: np.ndarray
    num_frames: np.ndarray
    logmel_offset: np.ndarray
    num_mel_frames: np.ndarray

    def __init__(self, folder: str | Path | RemotePath) -> None:
        self.folder: Path | RemotePath = path_of(folder)
        if not (self.folder / schema.DATASET).is_file():
            raise UserError(f"{self.folder} is no finished dataset; 'avprep build-shards' makes one.")
        self.info: dict[str, Any] = store.read_json(self.folder / schema.DATASET)
        stored = self.info.get("format") if isinstance(self.info, dict) else None
        if stored not in (schema.FORMAT, schema.APPENDING):
            raise UserError(f"{self.folder} has format {stored!r}; this version reads {schema.FORMAT}.")
        integrity.check_info(self.info, self.folder / schema.DATASET)
        numbers, named = {}, {}
        for name, column in self._columns(*integrity.NUMBERS, "shard", "split"):  # at a URL, one fetch of the index
            if name in ("shard", "split"):
                named[name] = categories(column)
            else:
                numbers[name] = numbers_of(column)
        (self.shards, self.shard), (self.splits, self.split) = named["shard"], named["split"]
        integrity.check_index(numbers, self.shards, self.shard, self.info, self.table_path(schema.INDEX))
        for name, values in numbers.items():
            setattr(self, name, values)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        return Path(str(self.folder)).resolve().name

    @property
    def local_folder(self) -> Path:
        """The folder, for what writes into it. Errors: UserError where it lies behind a URL."""
        if isinstance(self.folder, RemotePath):
            raise UserError(f"{self.folder} is not on this machine, which this needs; copy the folder here.")
        return self.folder

    def table_path(self, name: str) -> Path | RemotePath:
        """Where one of the dataset's tables lies: in the folder of an append that a kill has kept from moving it."""
        staged = self.folder / schema.APPEND / name
        return staged if schema.TABLES in self.info and staged.is_file() else self.folder / name

    def changes_since(self, digest: object, of: str = "digest_before") -> list[dict[str, Any]]:
        """Appends and merges since the dataset had this `digest` (or `index_sha256_before`): lines of history.jsonl.

        None where it never had.
        """
        return since(self.table_path(schema.HISTORY), digest, of)

    @cached_property
    def sizes_position(self) -> np.ndarray:
        """int64 [rows]: position of a clip's first frame in its shard's frame sizes, -1 for raw frames."""
        position = numbers_of(self._column("sizes_position"))
        if self.frame_codec == "jpeg":
            facts = [self.info["shards"][shard]["sizes_bytes"] for shard in self.shards]
            held = (np.array(facts, np.int64)[self.shard] - schema.SIZES_HEADER_BYTES) // schema.SIZES_DTYPE.itemsize
            self._must(position >= 0, "sizes_position", position)
            self._must(position <= held - self.num_frames, "sizes_position", position)
        return position

    @cached_property
    def duration_seconds(self) -> np.ndarray:
        """float64 [rows]: length of each clip."""
        seconds = numbers_of(self._column("duration_seconds"))
        self._must(np.isfinite(seconds) & (seconds > 0), "duration_seconds", seconds)
        return seconds

    @cached_property
    def av_offset_seconds(self) -> np.ndarray:
        """float64 [rows]: how much later the sound started than the picture, before both were cut."""
        seconds = numbers_of(self._column("av_offset_seconds"))
        self._must(np.isfinite(seconds), "av_offset_seconds", seconds)
        return seconds

    @property
    def class_names(self) -> list[str]:
        """Names by class id."""
        return list(self.info["class_names"])

    @property
    def digest(self) -> str:
        """Hex sha256 over the digests of index and shards: the identity that runs and results refer to."""
        return configs.digest([self.info["index_sha256"], self.info["shards"]])

    @property
    def frame_size(self) -> int:
        """Height and width of a frame, in pixels."""
        return int(self.info["video"]["frame_size"])

    @property
    def frame_rate_hz(self) -> int:
        """Frames a second."""
        return int(self.info["video"]["frame_rate_hz"])

    @property
    def frame_codec(self) -> str:
        """`raw` or `jpeg`."""
        return str(self.info["video"]["frame_codec"])

    @property
    def num_mel_bands(self) -> int:
        """Bands M of a log-mel frame."""
        return int(self.info["audio"]["num_mel_bands"])

    @cached_property
    def mel_rates_hz(self) -> np.ndarray:
        """Log-mel frames a second of each clip, float64 [rows]: 100, else by frames and length."""
        if self.info["audio"].get("resample", True):
            return np.broadcast_to(float(schema.MEL_FRAMES_PER_SECOND), len(self))
        return (self.num_mel_frames - 1) / self.duration_seconds

    @property
    def logmel_mean(self) -> np.ndarray:
        """Mean of each mel band over the train split, float64 [M], dB. Errors: UserError where one is not finite."""
        return self._statistic("mean")

    @property
    def logmel_std(self) -> np.ndarray:
        """Deviation of each mel band over the train split, float64 [M], dB. Errors: as logmel_mean."""
        return self._statistic("std")

    def _statistic(self, name: str) -> np.ndarray:
        with speaking_of(self.folder / schema.DATASET):
            values = np.array(self.info["logmel"][name], np.float64)
            if values.shape != (self.num_mel_bands,):
                raise ValueError(f"logmel {name} is not of {self.num_mel_bands} bands")
        if not np.isfinite(values).all():
            raise UserError(
                f"{self.folder / schema.DATASET} has log-mel statistics that are not finite; 'avprep verify' names the "
                f"clips at fault and the next step."
            )
        return values

    @cached_property
    def clip_ids(self) -> list[str]:
        """Clip id of every row."""
        return self._column("clip_id").to_pylist()

    def ids_of(self, rows: np.ndarray) -> pa.Array:
        """Clip ids of some rows, read without a Python object for each of the others."""
        ids = self._column("clip_id").take(integers(rows))
        return ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids

    @cached_property
    def keys(self) -> pa.ChunkedArray:
        """Tar key of every row."""
        return self._column("key")

    @cached_property
    def group_names(self) -> np.ndarray:
        """str [rows]: the group of each clip in the manifest, which must not be in two splits (speaker ...)."""
        return self._planned["group"]

    @cached_property
    def groups(self) -> np.ndarray:
        """int64 [rows]: equal numbers for clips of one group."""
        return np.unique(self.group_names, return_inverse=True)[1]

    @cached_property
    def clusters(self) -> np.ndarray:
        """int64 [rows]: equal numbers for clips that vary together: of one `cluster` of the manifest, else its group.

        Intervals and tests go by them. A cluster and a group of one name are two.
        """
        groups, clusters = self._planned["group"], self._planned.get("cluster")
        if clusters is None:
            return self.groups
        names = np.where(clusters != "", np.char.add("cluster ", clusters), np.char.add("group ", groups))
        return np.unique(names, return_inverse=True)[1]

    def plan_columns(self, *names: str) -> pa.Table:
        """Columns of the manifest that the dataset was built from, in its own order. Errors: FileNotFoundError."""
        return pq.read_table(source_of(self.table_path(schema.PLAN_MANIFEST)), columns=list(names))

    @cached_property
    def _planned(self) -> dict[str, np.ndarray]:
        """The manifest's `group` and, where it has one, `cluster` of every row, as text."""
        with pq.ParquetFile(source_of(self.table_path(schema.PLAN_MANIFEST))) as file:
            names = [name for name in ("group", "cluster") if name in file.schema_arrow.names]
            table = file.read(["clip_id", *names])
        positions = pc.index_in(self._column("clip_id"), value_set=table.column("clip_id"))
        return {name: np.array(table.column(name).take(positions).to_pylist(), str) for name in names}

    def labels(self, name: str) -> LabelColumn:
        """The label column `name`: "label" is the manifest's own, others are labels/NAME.parquet (multi-label too).

        Errors: UserError where there is no such column, with the names of those there are.
        """
        if name == "label":
            return LabelColumn(self.label.astype(np.int32), self.class_names)
        return read_labels(self._labels_folder(name), name, self._column("clip_id"))

    def has_labels(self, name: str) -> bool:
        """Whether there is a label column `name`; "label" always is."""
        if name == "label" or not schema.LABEL_NAME_PATTERN.fullmatch(name):
            return name == "label"
        return names.inside(self._labels_folder(name), schema.labels_path(name)).is_file()

    def label_probabilities(self, name: str) -> np.ndarray:
        """float32 [rows]: how probable each label of the column `name` is, 1 for a clip without label.

        Errors: UserError where the column has no probabilities, which the manifest's own has not.
        """
        if name == "label":
            raise UserError("The manifest's own labels have no probabilities; name a column of 'avprep pseudo-label'.")
        return read_probabilities(self.folder, name, self._column("clip_id"))

    def label_lists(self, name: str) -> list[list[str] | None]:
        """The multi-label column `name`: the class names of each row, None for a clip that is not in the column.

        Errors: UserError as `labels`, also where the column has one label a clip.
        """
        return read_label_lists(self._labels_folder(name), name, self.clip_ids)

    def _labels_folder(self, name: str) -> Path | RemotePath:
        """The folder below which the label column lies: only that of the manifest's lists may be a table on its way."""
        path = schema.labels_path(name)
        moves = name == schema.MANIFEST_LABELS and self.table_path(path) != self.folder / path
        return self.folder / schema.APPEND if moves else self.folder

    def rows_of(self, split: str) -> np.ndarray:
        """int64 rows of a split; UserError where the dataset has no such split."""
        if split not in self.splits:
            raise UserError(f"{self.folder} has no split {split!r}; it has {', '.join(self.splits)}.")
        return np.flatnonzero(self.split == self.splits.index(split))

    def shard_file(self, number: int) -> Path | RemotePath:
        """Where a shard lies, by its number in `shards`."""
        return names.inside(self.folder, self.shards[number], schema.SHARD_PATTERN)

    def sizes_file(self, number: int) -> Path | RemotePath:
        """Where the frame sizes of a shard lie, by its number; for the jpeg codec alone."""
        return names.inside(self.folder, schema.sizes_path(self.shards[number]))

    def shard_path(self, row: int) -> Path | RemotePath:
        """Where the shard of a row lies."""
        return self.shard_file(int(self.shard[row]))

    def read_clip(self, row: int) -> WholeClip:
        """The whole clip of an index row, read by its offsets. Errors: UserError where its shard is damaged."""
        frames = None if self.frames_offset[row] < 0 else self.read_frames(row, 0, int(self.num_frames[row]))
        return WholeClip(frames, self.read_logmel(row))

    def read_logmel(self, row: int) -> np.ndarray:
        """The log-mel of a clip, float16 [F, M]. Errors: UserError where its shard is damaged."""
        shape = (int(self.num_mel_frames[row]), self.num_mel_bands)
        return read_array(self.shard_path(row), int(self.logmel_offset[row]), shape, schema.LOGMEL_DTYPE)

    def read_frames(self, row: int, begin: int, end: int, stride: int = 1) -> np.ndarray:
        """Every `stride`-th of the frames [begin, end) of a clip that has pictures, uint8 [T, H, W, 3].

        Only bytes of [begin, end) are read. Errors: UserError where its shard is damaged.
        """
        shard = self.shard_path(row)
        offset = int(self.frames_offset[row])
        shape = (end - begin, self.frame_size, self.frame_size, 3)
        if self.frame_codec == "raw":
            whole = read_array(shard, offset + begin * math.prod(shape[1:]), shape, schema.FRAMES_DTYPE)
            return whole[::stride]
        sizes = self.frame_sizes(row)
        length = int(sizes[begin:end].sum())
        data = read_array(shard, offset + int(sizes[:begin].sum()), (length,), schema.FRAMES_DTYPE)
        frames = np.empty((-(-shape[0] // stride), *shape[1:]), schema.FRAMES_DTYPE)
        try:
            jpeg.decode(data.data, sizes[begin:end], frames, stride)
        except ValueError as error:
            raise UserError(f"{shard} holds a damaged picture ({error}); {repair(shard)}.") from None
        return frames

    def frame_sizes(self, row: int) -> np.ndarray:
        """Bytes of each JPEG of a clip, uint32 [T]; for the jpeg codec alone."""
        path = self.sizes_file(int(self.shard[row]))
        offset = schema.SIZES_HEADER_BYTES + int(self.sizes_position[row]) * schema.SIZES_DTYPE.itemsize
        return read_array(path, offset, (int(self.num_frames[row]),), schema.SIZES_DTYPE)

    def _column(self, name: str) -> pa.ChunkedArray:
        ((_, column),) = self._columns(name)
        if len(column) != len(self):
            raise UserError(f"{self.folder} has got other clips since it was opened; run the command again.")
        return column

    def _columns(self, *columns: str) -> Iterator[tuple[str, pa.ChunkedArray]]:
        try:
            yield from index_columns(self.table_path(schema.INDEX), columns)
        except UNREADABLE as error:
            raise self._unreadable(error) from None

    def _must(self, good: np.ndarray, name: str, values: np.ndarray) -> None:
        """Raise UserError naming the first row in which `values` of the index are not `good`."""
        for row in np.flatnonzero(~good)[:1].tolist():
            raise UserError(f"{self.folder / schema.INDEX} gives {name} {values[row]} of row {row}, {ALTERED}")

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            f"{self.folder / schema.INDEX} cannot be read ({first_line(error)[:120]}); where an older "
            "version wrote it, 'avprep finalize' writes it anew."
        )
