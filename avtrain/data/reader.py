"""Byte ranges of local shards straight into batch buffers, by a few threads (preadv releases the GIL).

A window longer than its clip is padded: pictures repeat the last one, log-mel continues at the clip's own minimum.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np

from avprep.dataset import Dataset
from avprep.schema import LOGMEL_DTYPE
from avprep.shared.errors import UserError
from avtrain.data.routing import Ranges

OPEN_FILES = 512


class Reader:
    """Reads ranges of one dataset; shared by threads. `close()` when done, or use as a context manager."""

    def __init__(self, dataset: Dataset, threads: int = 2) -> None:
        self._folder = dataset.folder
        self._shards = dataset.shards
        self._sizes = [dataset.info["shards"][shard]["bytes"] for shard in dataset.shards]
        self._files: OrderedDict[int, int] = OrderedDict()
        self._users: dict[int, int] = {}
        self._lock = Lock()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read") if threads > 1 else None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads and close the files."""
        if self._pool is not None:
            self._pool.shutdown()
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()

    def read_frames(self, ranges: Ranges, out: np.ndarray) -> None:
        """Fill `out` uint8 [B, T, H, W, 3]. Errors: UserError naming a shard that is gone or short."""
        self._read(ranges, out)
        frame = out[0, 0].nbytes
        for item in np.flatnonzero(ranges.length < out[0].nbytes):
            have = ranges.length[item] // frame
            out[item, have:] = out[item, have - 1] if have else 0

    def read_logmel(self, ranges: Ranges, out: np.ndarray) -> None:
        """Fill `out` float16 [B, F, M]. Errors: UserError naming a shard that is gone or short."""
        self._read(ranges, out)
        frame = out.shape[2] * LOGMEL_DTYPE.itemsize
        for item in np.flatnonzero(ranges.length < out[0].nbytes):
            have = ranges.length[item] // frame
            out[item, have:] = out[item, :have].min() if have else 0

    def _read(self, ranges: Ranges, out: np.ndarray) -> None:
        flat = out.reshape(len(out), -1).view(np.uint8)
        order = np.lexsort((ranges.offset, ranges.shard))
        if self._pool is None:
            self._read_part(order, ranges, flat)
            return
        parts = np.array_split(order, self._threads)
        for done in [self._pool.submit(self._read_part, part, ranges, flat) for part in parts]:
            done.result()

    def _read_part(self, items: np.ndarray, ranges: Ranges, flat: np.ndarray) -> None:
        shards, offsets, lengths = ranges.shard[items], ranges.offset[items], ranges.length[items]
        held = -1
        try:
            for item, shard, offset, length in zip(
                items.tolist(), shards.tolist(), offsets.tolist(), lengths.tolist(), strict=True
            ):
                if shard != held:
                    if held >= 0:
                        self._release(held)
                    held = -1
                    handle = self._acquire(shard)
                    held = shard
                if os.preadv(handle, [flat[item, :length].data], offset) != length:
                    raise UserError(f"{self._folder / self._shards[shard]} is shorter than its index says.")
        finally:
            if held >= 0:
                self._release(held)

    def _acquire(self, shard: int) -> int:
        """The shard's file descriptor, opened and its size checked at first use; not closed until released."""
        with self._lock:
            handle = self._files.get(shard)
            if handle is None:
                while len(self._files) >= OPEN_FILES:
                    idle = next((s for s in self._files if not self._users.get(s)), None)
                    if idle is None:
                        break
                    os.close(self._files.pop(idle))
                handle = self._files[shard] = self._open(self._folder / self._shards[shard], self._sizes[shard])
            self._files.move_to_end(shard)
            self._users[shard] = self._users.get(shard, 0) + 1
            return handle

    def _release(self, shard: int) -> None:
        with self._lock:
            self._users[shard] -= 1

    def _open(self, path: Path, size: int) -> int:
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); 'avprep build-shards' repairs it.") from None
        found = os.fstat(handle).st_size
        if found != size:
            os.close(handle)
            raise UserError(f"{path} has {found} bytes, not {size}; 'avprep build-shards' repairs it.")
        return handle
