"""Windows of clips into batch buffers, whatever the codec and wherever the dataset lies.

A window longer than its clip is padded: pictures repeat the last one read, log-mel continues at the clip's own minimum.
Where a clip has nothing at all in a window, that is zero.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from avprep.dataset import Dataset
from avprep.dataset.joined import JoinedDataset
from avprep.schema import FRAMES_DTYPE, LOGMEL_DTYPE
from avprep.shared import jpeg, names
from avprep.shared.remote import RemotePath
from avtrain.data.byte_ranges import Ranges, audio_ranges, pictures_there, video_ranges
from avtrain.data.cache import CacheConfig
from avtrain.data.encoded import EncodedPictures, damaged
from avtrain.data.headers import MemberKind, frames_kind, logmel_kind
from avtrain.data.joined_shards import JoinedShards
from avtrain.data.jpeg_sizes import FrameSizes
from avtrain.data.local_shards import PARTS_PER_THREAD, LocalShards, finish
from avtrain.data.remote_shards import RemoteShards
from avtrain.sampling.windows import Windows


@dataclass(frozen=True)
class _Wanted:
    """Ranges of one kind of member and the buffers for their bytes."""

    kind: MemberKind
    rows: np.ndarray
    """of the dataset, one for each range"""
    ranges: Ranges
    views: list[memoryview]


class Reader:
    """Reads windows of one dataset by `threads`; one call at a time. `close()` when done, or use as a context manager.

    A shard's size is checked at its first use, a member's headers at its first use. Errors of every reading method:
    UserError naming the shard (and clip) that is gone, short, damaged or cannot be reached; ValueError for a buffer
    of another shape or dtype.
    """

    def __init__(self, dataset: Dataset, threads: int = 2, cache: CacheConfig | None = None) -> None:
        self._dataset, self._threads = dataset, threads
        self._kinds = {"frames": frames_kind(dataset), "logmel": logmel_kind(dataset)}
        self._checked_headers = {name: np.zeros(len(dataset), bool) for name in self._kinds}
        self._sizes = FrameSizes(dataset) if dataset.frame_codec == "jpeg" else None
        self._checked = np.zeros(len(dataset.shards), bool)
        self._scratch = np.empty(0, np.uint8)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read") if threads > 1 else None
        self._source = _source(dataset, cache, self._pool, threads)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads and close the files."""
        if self._pool is not None:
            self._pool.shutdown()
        self._source.close()

    def check_shards(self, rows: np.ndarray) -> None:
        """Hold the shards of `rows` against their sizes, before memory for whole clips is taken."""
        shards = np.unique(self._dataset.shard[rows])
        self._source.check(shards[~self._checked[shards]])
        self._checked[shards] = True

    def read_frames(
        self, rows: np.ndarray, starts: np.ndarray, out: np.ndarray | EncodedPictures, frame_stride: int = 1
    ) -> None:
        """Fill `out` uint8 [B, T, H, W, 3] with every `frame_stride`-th picture of `rows` from frames `starts` on.

        EncodedPictures get the JPEGs as they are.
        """
        self._read([self._frames(rows, starts, out, frame_stride)])
        self._finish_frames(rows, starts, out, frame_stride)

    def read_logmel(self, rows: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
        """Fill `out` float16 [B, F, M] with the log-mel of `rows` from mel frames `starts`."""
        self._read([self._logmel(rows, starts, out)])
        self._finish_logmel(rows, starts, out)

    def read_pairs(
        self, plan: np.ndarray, windows: Windows, video: np.ndarray | EncodedPictures, audio: np.ndarray
    ) -> None:
        """Fill `video` and `audio`, as above, with the windows of planned pairs int64 [B, 2]; all are read together."""
        audio_rows, video_rows = plan.T
        stride = windows.frame_stride
        first = np.where(
            self._dataset.num_frames[video_rows] > 0, windows.frame, 0
        )  # a clip may have no picture at all
        self._read([self._frames(video_rows, first, video, stride), self._logmel(audio_rows, windows.mel_frame, audio)])
        self._finish_frames(video_rows, first, video, stride)
        self._finish_logmel(audio_rows, windows.mel_frame, audio)

    def _frames(self, rows: np.ndarray, starts: np.ndarray, out: np.ndarray | EncodedPictures, stride: int) -> _Wanted:
        size, kind, count = self._dataset.frame_size, self._kinds["frames"], _num_frames(out)
        if isinstance(out, np.ndarray):
            _check_buffer(out, (len(rows), count, size, size, 3), FRAMES_DTYPE)
        if self._sizes is None:
            assert isinstance(out, np.ndarray)
            ranges = video_ranges(self._dataset, rows, starts, count, frame_stride=stride)
            return _Wanted(kind, rows if stride == 1 else np.repeat(rows, count), ranges, views(out, ranges.length))
        self.check_shards(rows)
        self._sizes.load(rows)
        ranges = video_ranges(self._dataset, rows, starts, count, self._sizes, stride)
        ends = np.cumsum(ranges.length)
        num_bytes = int(ranges.length.sum())
        room = self._room(num_bytes) if isinstance(out, np.ndarray) else out.room(num_bytes)
        begins = (ends - ranges.length).tolist()
        parts = [room[begin:end].data for begin, end in zip(begins, ends.tolist(), strict=True)]
        return _Wanted(kind, rows, ranges, parts)

    def _room(self, num_bytes: int) -> np.ndarray:
        """The scratch buffer, of at least so many bytes."""
        if num_bytes > len(self._scratch):
            self._scratch = np.empty(int(num_bytes * 1.25), np.uint8)
        return self._scratch

    def _logmel(self, rows: np.ndarray, starts: np.ndarray, out: np.ndarray) -> _Wanted:
        _check_buffer(out, (len(rows), out.shape[1], self._dataset.num_mel_bands), LOGMEL_DTYPE)
        ranges = audio_ranges(self._dataset, rows, starts, out.shape[1])
        return _Wanted(self._kinds["logmel"], rows, ranges, views(out, ranges.length))

    def _read(self, wanted: list[_Wanted]) -> None:
        """Read all ranges at once, and the headers of members that are used for the first time."""
        ranges = [want.ranges for want in wanted]
        buffers = [view for want in wanted for view in want.views]
        headers: list[tuple[str, np.ndarray, np.ndarray]] = []
        for name, checked in self._checked_headers.items():
            used = [want.rows[want.ranges.length > 0] for want in wanted if want.kind is self._kinds[name]]
            new = np.unique(np.concatenate(used)) if used else np.zeros(0, np.int64)
            new = new[~checked[new]]
            if len(new):
                kind = self._kinds[name]
                header = np.empty((len(new), kind.header_bytes), np.uint8)
                headers.append((name, new, header))
                ranges.append(kind.header_ranges(new))
                buffers += views(header, np.full(len(new), kind.header_bytes))
        joined = Ranges.joined(ranges)
        filled = np.flatnonzero(joined.length > 0)
        if len(filled) < len(buffers):
            joined, buffers = joined.take(filled), [buffers[item] for item in filled]
        self._source.read(joined, buffers)
        for name, rows, header in headers:
            self._kinds[name].check(rows, header)
            self._checked_headers[name][rows] = True

    def _finish_frames(
        self, rows: np.ndarray, starts: np.ndarray, out: np.ndarray | EncodedPictures, stride: int
    ) -> None:
        """Decode what has been read into the scratch buffer, and pad; EncodedPictures do so later."""
        have = pictures_there(self._dataset, rows, starts, _num_frames(out), stride)
        if not isinstance(out, np.ndarray):
            out.set(rows, have, self._stored_sizes(rows, starts, out.num_frames, stride), stride)
            return
        if self._sizes is not None:
            self._decode(rows, self._stored_sizes(rows, starts, out.shape[1], stride), have, out, stride)
        for item in np.flatnonzero(have < out.shape[1]):
            out[item, have[item] :] = out[item, have[item] - 1] if have[item] else 0

    def _finish_logmel(self, rows: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
        have = np.clip(self._dataset.num_mel_frames[rows] - starts, 0, out.shape[1])
        for item in np.flatnonzero(have < out.shape[1]):
            out[item, have[item] :] = out[item, : have[item]].min() if have[item] else 0

    def _stored_sizes(self, rows: np.ndarray, starts: np.ndarray, count: int, stride: int) -> list[np.ndarray]:
        """Bytes of the JPEGs that have been read for each of `rows`, those between strided pictures too."""
        assert self._sizes is not None
        stored = pictures_there(self._dataset, rows, starts, (count - 1) * stride + 1)  # as in the ranges
        return [self._sizes.of(*each) for each in zip(rows.tolist(), starts.tolist(), stored.tolist(), strict=True)]

    def _decode(
        self, rows: np.ndarray, sizes: list[np.ndarray], have: np.ndarray, out: np.ndarray, stride: int
    ) -> None:
        ends = np.cumsum([size.sum() for size in sizes]).tolist()
        data = self._scratch.data

        def part(items: np.ndarray) -> None:
            for item in items.tolist():
                begin = ends[item - 1] if item else 0
                try:
                    jpeg.decode(data[begin : ends[item]], sizes[item], out[item, : have[item]], stride)
                except ValueError as error:
                    raise damaged(self._dataset, int(rows[item]), error) from None

        items = np.arange(len(rows))
        if self._pool is None:
            part(items)
        else:
            count = min(PARTS_PER_THREAD * self._threads, max(len(items), 1))
            finish([self._pool.submit(part, some) for some in np.array_split(items, count)])


def _source(
    dataset: Dataset, cache: CacheConfig | None, pool: ThreadPoolExecutor | None, threads: int
) -> LocalShards | RemoteShards | JoinedShards:
    if isinstance(dataset, JoinedDataset):
        return JoinedShards([_source(part, cache, pool, threads) for part in dataset.parts], dataset.shard_bounds)
    if isinstance(dataset.folder, RemotePath):
        return RemoteShards(dataset, cache, pool, threads)
    folder = dataset.folder
    sizes = [dataset.info["shards"][shard]["bytes"] for shard in dataset.shards]
    return LocalShards(lambda shard: names.inside(folder, dataset.shards[shard]), sizes, pool, threads)


def _num_frames(out: np.ndarray | EncodedPictures) -> int:
    return out.shape[1] if isinstance(out, np.ndarray) else out.num_frames


def _check_buffer(out: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"a buffer {out.dtype} {out.shape} where C-ordered {dtype} {shape} is needed")


def views(out: np.ndarray, lengths: np.ndarray) -> list[memoryview]:
    """The first `lengths` [N] bytes of each of N equal parts of `out`."""
    flat = out.reshape(len(lengths), -1).view(np.uint8)
    return [item[:length].data for item, length in zip(flat, lengths.tolist(), strict=True)]
