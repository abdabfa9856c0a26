"""Byte ranges of remote shards into buffers: neighbours in one request, many requests at a time, shards cached."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

import avprep.schema as schema
from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath, Span
from avtrain.data.byte_ranges import Ranges
from avtrain.data.cache import CacheConfig, ShardCache, kept_path
from avtrain.data.local_shards import LocalShards

GAP_BYTES = 32 << 10
WASTE = 0.2  # of the bytes that are needed may be fetched between neighbours


class RemoteShards:
    """Reads ranges of a remote dataset's shards; with a cache, from there where a shard is there."""

    def __init__(self, dataset: Dataset, cache: CacheConfig | None, pool: Executor | None, threads: int) -> None:
        assert isinstance(dataset.folder, RemotePath)
        self._folder = dataset.folder
        self._paths = [dataset.folder / shard for shard in dataset.shards]
        facts = [dataset.info["shards"][shard] for shard in dataset.shards]
        self._sizes = [int(fact["bytes"]) for fact in facts]
        self._known = np.zeros(len(self._paths), bool)
        self._cache: ShardCache | None = None
        self._folder.fetch([Span(dataset.folder / schema.DATASET, 0, 1)], lambda _number, _data: None)
        if cache is not None:
            self._local = LocalShards(lambda shard: kept_path(cache, facts[shard]), self._sizes, pool, threads)
            self._cache = ShardCache(cache, facts, self._part, self._local.forget)

    def close(self) -> None:
        """Stop filling the cache."""
        if self._cache is not None:
            self._cache.close()
            self._local.close()

    def read(self, ranges: Ranges, views: Sequence[memoryview]) -> None:
        """Fill views[i] with range i. Errors: UserError naming a shard that is gone, of another size, unreadable."""
        far = np.arange(len(views))
        if self._cache is not None:
            here = {shard for shard in np.unique(ranges.shard).tolist() if self._cache.use(shard)}
            near = np.isin(ranges.shard, list(here))
            if near.any() and self._read_cached(
                ranges.take(near), [views[item] for item in np.flatnonzero(near).tolist()]
            ):
                far = np.flatnonzero(~near)
        if len(far):
            self._read_far(ranges.take(far), [views[item] for item in far.tolist()])

    def _read_cached(self, ranges: Ranges, views: Sequence[memoryview]) -> bool:
        try:
            self._local.read(ranges, views)
        except UserError:  # another process has made room
            return False
        return True

    def _read_far(self, ranges: Ranges, views: Sequence[memoryview]) -> None:
        self.check(np.unique(ranges.shard))
        runs = coalesce(ranges)
        spans = [Span(self._paths[run.shard], run.begin, run.end) for run in runs]

        def take(number: int, data: bytes) -> None:
            whole, run = memoryview(data), runs[number]
            for item in run.items:
                begin = int(ranges.offset[item]) - run.begin
                views[item][:] = whole[begin : begin + len(views[item])]

        try:
            self._folder.fetch(spans, take)
        except FileNotFoundError as error:
            raise _gone(error) from None

    def check(self, shards: np.ndarray) -> None:
        """Raise UserError where one of some shards is gone or, as far as its server reports sizes, of another size."""
        new = shards[~self._known[shards]]
        try:
            sizes = self._folder.sizes([self._paths[shard] for shard in new])
        except FileNotFoundError as error:
            raise _gone(error) from None
        for shard, size in zip(new.tolist(), sizes, strict=True):
            if size is not None and size != self._sizes[shard]:
                raise UserError(
                    f"{self._paths[shard]} has {size} bytes, not {self._sizes[shard]}; copy the dataset there again."
                )
        self._known[new] = True

    def _part(self, shard: int, begin: int, end: int) -> bytearray:
        data = bytearray(end - begin)
        self._paths[shard].read_range(begin, memoryview(data))
        return data


class Run:
    """Neighbouring ranges `items` of a shard that are fetched as one, `begin` to `end`."""

    def __init__(self, item: int, shard: int, begin: int, end: int) -> None:
        self.items, self.shard, self.begin, self.end = [item], shard, begin, end
        self.needed = end - begin


def coalesce(ranges: Ranges) -> list[Run]:
    """Runs over all ranges: neighbours less than GAP_BYTES apart, with at most WASTE of what is needed between them."""
    runs: list[Run] = []
    order = np.lexsort((ranges.offset, ranges.shard))
    columns = (order, ranges.shard[order], ranges.offset[order], ranges.length[order])
    for item, shard, begin, length in zip(*(column.tolist() for column in columns), strict=True):
        end = begin + length
        run = runs[-1] if runs else None
        if run is not None and run.shard == shard and begin - run.end <= GAP_BYTES:
            needed = run.needed + max(0, end - max(begin, run.end))
            if max(end, run.end) - run.begin <= (1 + WASTE) * needed:
                run.items.append(item)
                run.end, run.needed = max(end, run.end), needed
                continue
        runs.append(Run(item, shard, begin, end))
    return runs


def _gone(error: FileNotFoundError) -> UserError:
    return UserError(f"{error.filename or error} does not exist; copy the dataset there again.")
