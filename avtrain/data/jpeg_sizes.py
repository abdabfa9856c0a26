"""Where each JPEG of a clip begins: the frame sizes beside the shards, read when a shard is first used."""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from pathlib import Path

import numpy as np

import avprep.schema as schema
from avprep.dataset import Dataset, repair
from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath, read_all

KEPT_BYTES = 256 << 20


class FrameSizes:
    """Sizes of JPEGs by row and frame. Sums of the shards used last are kept in memory, up to KEPT_BYTES."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._sums: OrderedDict[int, np.ndarray] = OrderedDict()
        self._kept_bytes = 0

    def load(self, rows: np.ndarray) -> None:
        """Make the sizes of `rows` ready. Errors: UserError naming a file that is missing or contradicts the index."""
        needed = np.unique(self._dataset.shard[rows]).tolist()
        for shard in needed:
            if shard in self._sums:
                self._sums.move_to_end(shard)
        new = [shard for shard in needed if shard not in self._sums]
        try:
            files = read_all([self._path(shard) for shard in new])
        except OSError as error:
            step = repair(self._path(new[0]))
            raise UserError(f"{error.filename or error} cannot be read; {step}.") from None
        for shard, data in zip(new, files, strict=True):
            self._sums[shard] = self._summed(shard, data)
            self._kept_bytes += self._sums[shard].nbytes
        while self._kept_bytes > KEPT_BYTES and len(self._sums) > len(needed):
            self._kept_bytes -= self._sums.popitem(last=False)[1].nbytes
        for row in rows[self.before(rows, self._dataset.num_frames[rows]) != self._dataset.frames_bytes[rows]].tolist():
            path = self._path(self._dataset.shard[row])
            raise UserError(f"{path} disagrees with the index on clip {self._dataset.clip_ids[row]}; {repair(path)}.")

    def before(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Bytes int64 [B] of each clip's JPEGs before a frame; `load` first."""
        shards, firsts = self._dataset.shard[rows].tolist(), self._dataset.sizes_position[rows].tolist()
        before = np.empty(len(rows), np.int64)
        for item, (shard, first, frame) in enumerate(zip(shards, firsts, frames.tolist(), strict=True)):
            sums = self._sums[shard]
            before[item] = sums[first + frame] - sums[first]
        return before

    def of(self, row: int, start: int, count: int) -> np.ndarray:
        """Bytes int64 [count] of a clip's JPEGs from `start` on; `load` first."""
        first = int(self._dataset.sizes_position[row]) + start
        return np.diff(self._sums[int(self._dataset.shard[row])][first : first + count + 1])

    def _path(self, shard: int) -> Path | RemotePath:
        return self._dataset.sizes_file(shard)

    def _summed(self, shard: int, data: bytes) -> np.ndarray:
        """Sums int64 [frames + 1] of a file's sizes."""
        expected = self._dataset.info["shards"][self._dataset.shards[shard]]["sizes_bytes"]
        stream, sizes = io.BytesIO(data), None
        with contextlib.suppress(ValueError):
            if np.lib.format.read_magic(stream) == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
                rest = data[stream.tell() :]  # numpy would allocate what the header asks for
                if dtype == schema.SIZES_DTYPE and len(shape) == 1 and shape[0] * dtype.itemsize == len(rest):
                    sizes = np.frombuffer(rest, dtype)
        if len(data) != expected or sizes is None:
            raise UserError(f"{self._path(shard)} is damaged; {repair(self._path(shard))}.")
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
