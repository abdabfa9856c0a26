"""The headers before a member's data, checked at its first use: is the clip that the index names really there?

Headers of a whole batch are compared at once: the tar header's checksum, name and size, then the npy header.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

import avprep.schema as schema
from avprep.dataset import Dataset, repair
from avprep.shared.arrow import integers
from avprep.shared.errors import UserError
from avtrain.data.byte_ranges import Ranges

NPY_BYTES = len(schema.npy_header(schema.LOGMEL_DTYPE, (1001, 128)))
NAME, SIZE, CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 154)
CHECKSUM_FIELD = slice(148, 156)


@dataclass(frozen=True)
class MemberKind:
    """One kind of member: the column of its offsets, and the headers before its data."""

    dataset: Dataset
    suffix: str
    offset: np.ndarray
    dtype: np.dtype | None
    """of the array behind an npy header; None for a member without one"""

    @property
    def header_bytes(self) -> int:
        """Bytes before the data: tar header and npy header."""
        return schema.TAR_BLOCK_BYTES + (NPY_BYTES if self.dtype is not None else 0)

    def header_ranges(self, rows: np.ndarray) -> Ranges:
        """Ranges of the headers of `rows`."""
        offset = self.offset[rows] - self.header_bytes
        return Ranges(self.dataset.shard[rows], offset, np.full(len(rows), self.header_bytes))

    def check(self, rows: np.ndarray, headers: np.ndarray) -> None:
        """Compare headers uint8 [B, header_bytes] with the index. Errors: UserError naming shard and clip."""
        keys = self.dataset.keys.take(integers(rows)).to_pylist()
        names = np.array([(key + self.suffix).encode() for key in keys], "S100")
        data_bytes = self._data_bytes(rows)
        tar = headers[:, : schema.TAR_BLOCK_BYTES]
        summed = tar.sum(1, dtype=np.int64) - tar[:, CHECKSUM_FIELD].sum(1, dtype=np.int64) + 8 * ord(" ")
        size = data_bytes + self.header_bytes - schema.TAR_BLOCK_BYTES
        sound = _octal(tar[:, CHECKSUM]) == summed
        sound &= np.ascontiguousarray(tar[:, NAME]).view("S100")[:, 0] == names
        sound &= _octal(tar[:, SIZE]) == size
        for item in np.flatnonzero(~sound):
            raise self._damaged(rows[item], "tar header")
        if self.dtype is not None:
            self._check_npy(rows, headers[:, schema.TAR_BLOCK_BYTES :], self.dtype)

    def _check_npy(self, rows: np.ndarray, headers: np.ndarray, dtype: np.dtype) -> None:
        shapes = self._shapes(rows)
        for length in np.unique(shapes[:, 0]):
            same = np.flatnonzero(shapes[:, 0] == length)
            shape = tuple(shapes[same[0]].tolist())
            wrong = np.ones(len(same), bool)
            for header in _npy_headers(dtype, shape):
                wrong &= (headers[same] != np.frombuffer(header, np.uint8)).any(1)
            for item in same[wrong]:
                raise self._damaged(rows[item], "npy header")

    def _shapes(self, rows: np.ndarray) -> np.ndarray:
        """int64 [B, dimensions] of the stored arrays."""
        if self.suffix == schema.LOGMEL_SUFFIX:
            rest, length = [self.dataset.num_mel_bands], self.dataset.num_mel_frames[rows]
        else:
            rest, length = [self.dataset.frame_size, self.dataset.frame_size, 3], self.dataset.num_frames[rows]
        return np.concatenate([length[:, None].astype(np.int64), np.tile(rest, (len(rows), 1))], axis=1)

    def _data_bytes(self, rows: np.ndarray) -> np.ndarray:
        if self.dtype is None:
            return self.dataset.frames_bytes[rows]
        return self._shapes(rows).prod(axis=1) * self.dtype.itemsize

    def _damaged(self, row: int, what: str) -> UserError:
        shard = self.dataset.shard_path(row)
        member = f"{self.suffix.lstrip('.')} of clip {self.dataset.clip_ids[row]}"
        return UserError(f"{shard} has another {what} before {member} than the index records; {repair(shard)}.")


def frames_kind(dataset: Dataset) -> MemberKind:
    """The pictures of a dataset."""
    if dataset.frame_codec == "jpeg":
        return MemberKind(dataset, schema.JPEG_SUFFIX, dataset.frames_offset, None)
    return MemberKind(dataset, schema.FRAMES_SUFFIX, dataset.frames_offset, schema.FRAMES_DTYPE)


def logmel_kind(dataset: Dataset) -> MemberKind:
    """The log-mel of a dataset."""
    return MemberKind(dataset, schema.LOGMEL_SUFFIX, dataset.logmel_offset, schema.LOGMEL_DTYPE)


def _octal(digits: np.ndarray) -> np.ndarray:
    """Numbers int64 [B] written as octal digits uint8 [B, D]; -1 where they are not."""
    values = digits.astype(np.int64) - ord("0")
    powers = 8 ** np.arange(digits.shape[1], dtype=np.int64)[::-1]
    return np.where(((values >= 0) & (values < 8)).all(1), values @ powers, -1)


def _npy_headers(dtype: np.dtype, shape: tuple[int, ...]) -> list[bytes]:
    """The header of such an array as we write it, and as numpy does."""
    stream = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, facts)
    return [header for header in (schema.npy_header(dtype, shape), stream.getvalue()) if len(header) == NPY_BYTES]
