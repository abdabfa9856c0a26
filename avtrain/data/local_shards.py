"""Byte ranges of local shards straight into buffers by a few threads: preadv releases the interpreter's lock."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np

from avprep.dataset import repair
from avprep.shared.errors import UserError
from avtrain.data.byte_ranges import Ranges

OPEN_FILES = 512
PARTS_PER_THREAD = 4  # parts are unequal, so the last thread should not be long behind


class LocalShards:
    """Reads ranges of files that `path_of` finds by number and that must have `sizes` bytes; shared by threads."""

    def __init__(
        self, path_of: Callable[[int], Path], sizes: Sequence[int], pool: Executor | None, threads: int
    ) -> None:
        self._path_of, self._sizes = path_of, sizes
        self._pool, self._threads = pool, threads
        self._files: OrderedDict[int, int] = OrderedDict()
        self._users: dict[int, int] = {}
        self._lock = Lock()

    def close(self) -> None:
        """Close the files."""
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()

    def read(self, ranges: Ranges, views: Sequence[memoryview]) -> None:
        """Fill views[i] with range i. Errors: UserError naming a shard that is gone, short or of another size."""
        order = np.lexsort((ranges.offset, ranges.shard))
        if self._pool is None:
            self._read_part(order, ranges, views)
            return
        parts = np.array_split(order, min(PARTS_PER_THREAD * self._threads, max(len(order), 1)))
        finish([self._pool.submit(self._read_part, part, ranges, views) for part in parts])

    def check(self, shards: np.ndarray) -> None:
        """Raise UserError where one of some shards is gone or of another size."""
        for shard in shards.tolist():
            with self._held(shard):
                pass

    def forget(self, shard: int) -> None:
        """Close the shard's file, unless a thread is reading it."""
        with self._lock:
            if not self._users.get(shard) and shard in self._files:
                os.close(self._files.pop(shard))

    def _read_part(self, items: np.ndarray, ranges: Ranges, views: Sequence[memoryview]) -> None:
        shards, offsets = ranges.shard[items], ranges.offset[items].tolist()
        bounds = [*np.flatnonzero(np.diff(shards, prepend=-1)).tolist(), len(items)]
        numbers = items.tolist()
        for begin, end in itertools.pairwise(bounds):
            shard = int(shards[begin])
            with self._held(shard) as handle:
                for item, offset in zip(numbers[begin:end], offsets[begin:end], strict=True):
                    try:
                        got = os.preadv(handle, [views[item]], offset)
                    except OSError as error:
                        raise UserError(f"{self._path_of(shard)} cannot be read ({error.strerror}).") from None
                    if got != len(views[item]):
                        step = repair(self._path_of(shard))
                        raise UserError(f"{self._path_of(shard)} is shorter than in its index; {step}.")

    @contextmanager
    def _held(self, shard: int) -> Iterator[int]:
        """The shard's file descriptor, opened and its size checked at first use; not closed while it is held."""
        with self._lock:
            handle = self._files.get(shard)
            if handle is None:
                while len(self._files) >= OPEN_FILES:
                    idle = next((s for s in self._files if not self._users.get(s)), None)
                    if idle is None:
                        break
                    os.close(self._files.pop(idle))
                handle = self._files[shard] = _open(self._path_of(shard), self._sizes[shard])
            self._files.move_to_end(shard)
            self._users[shard] = self._users.get(shard, 0) + 1
        try:
            yield handle
        finally:
            with self._lock:
                self._users[shard] -= 1
                if not self._users[shard]:
                    del self._users[shard]


def finish(running: Sequence[Future[None]]) -> None:
    """Return when all have ended, so that none still writes; raise the first error."""
    wait(running)
    for done in running:
        done.result()


def _open(path: Path, size: int) -> int:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {repair(path)}.") from None
    actual = os.fstat(handle).st_size
    if actual != size:
        os.close(handle)
        raise UserError(f"{path} has {actual} bytes, not {size}; {repair(path)}.")
    return handle
