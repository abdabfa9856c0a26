"""Byte ranges of the shards of several datasets, each by what reads its own: from disk, or from a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from avtrain.data.byte_ranges import Ranges


class Shards(Protocol):
    """What reads byte ranges of the shards of one dataset."""

    def read(self, ranges: Ranges, views: Sequence[memoryview]) -> None: ...
    def check(self, shards: np.ndarray) -> None: ...
    def close(self) -> None: ...


class JoinedShards:
    """Reads the shards `bounds[i]` to `bounds[i + 1]` by the i-th of `sources`, which numbers them from 0."""

    def __init__(self, sources: Sequence[Shards], bounds: np.ndarray) -> None:
        self._sources, self._bounds = sources, bounds

    def close(self) -> None:
        """Close all sources."""
        for source in self._sources:
            source.close()

    def read(self, ranges: Ranges, views: Sequence[memoryview]) -> None:
        """Fill views[i] with range i. Errors: as those of the sources."""
        for source, begin, items in self._by_source(ranges.shard):
            own = ranges.take(items)
            source.read(Ranges(own.shard - begin, own.offset, own.length), [views[item] for item in items.tolist()])

    def check(self, shards: np.ndarray) -> None:
        """Raise UserError where one of some shards is gone or of another size."""
        for source, begin, items in self._by_source(shards):
            source.check(shards[items] - begin)

    def _by_source(self, shards: np.ndarray) -> Iterator[tuple[Shards, int, np.ndarray]]:
        """(source, number of its first shard, which of `shards` are its own) of each source that has any."""
        of = np.searchsorted(self._bounds, shards, side="right") - 1
        for number, source in enumerate(self._sources):
            items = np.flatnonzero(of == number)
            if len(items):
                yield source, int(self._bounds[number]), items
