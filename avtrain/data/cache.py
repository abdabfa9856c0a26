"""Whole shards of a remote dataset on a local disk: filled behind the reading, kept within a size, used again later.

A file is named by its sha256, so that datasets and versions may share a folder; it gets its name when it is whole and
its digest right. The files there are all that the cache knows: processes may share it, and start again at any time.

All of it lies in a sub-folder of the given one, and what has another name there, or is no plain file, is not the
cache's: it is neither counted nor removed. Earlier versions put shards into the given folder itself; one that is wanted
and whose bytes are right is moved from there instead of fetched.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.shared import names, store
from avprep.shared.errors import BusyError, UserError
from avprep.shared.urls import is_url
from avtrain.data.several import Given, sources_of

log = logging.getLogger(__name__)

FETCHED_BYTES = 8 << 20
IDLE_SECONDS = 600.0
FOLDER = "avtrain-shards"  # below the folder that the user gives
KEPT = re.compile(rf"{names.DIGEST.pattern}\.tar")
BUSY_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """Where shards are kept, and how many bytes of them at most.

    One that was used within `idle_seconds` makes no room for another: where a dataset is larger than the cache and
    read in random order, a part of it stays instead of everything being fetched over and over.
    """

    folder: Path
    max_bytes: int
    idle_seconds: float = IDLE_SECONDS


def cache_for(dataset: Given, folder: Path | None, max_bytes: int) -> CacheConfig | None:
    """The cache in `folder` of datasets at URLs; None without a folder. Errors: UserError where all are local."""
    if folder is None:
        return None
    paths = [path for path, _ in sources_of(dataset)]
    if not any(map(is_url, paths)):
        local = " + ".join(map(str, paths))
        raise UserError(f"{local} is on this machine already; --cache is for datasets at a URL.")
    return CacheConfig(folder=folder, max_bytes=max_bytes)


def kept_path(config: CacheConfig, facts: dict[str, Any]) -> Path:
    """Where a shard of these facts lies if it is cached."""
    return names.inside(config.folder, f"{FOLDER}/{names.checked(facts['sha256'], 'dataset.json', names.DIGEST)}.tar")


class _ClosingError(Exception):
    """The reader has gone before a shard was whole."""


class ShardCache:
    """Opens whole shards on disk, and fetches missing ones in the background, by one thread."""

    def __init__(
        self,
        config: CacheConfig,
        shards: list[dict[str, Any]],
        fetch: Callable[[int, int, int], bytearray],
        dropped: Callable[[int], None],
    ) -> None:
        """`shards` have bytes and sha256; fetch(shard, begin, end) gets a part; dropped(shard): that one went."""
        self._config, self._shards, self._fetch, self._dropped = config, shards, fetch, dropped
        self._folder = config.folder / FOLDER
        self._number_of = {facts["sha256"]: number for number, facts in enumerate(shards)}
        self._wanted: OrderedDict[int, None] = OrderedDict()
        self._touched: dict[int, float] = {}
        self._news = threading.Condition()
        self._closing = False
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._fill, name="shard-cache", daemon=True)
        self._thread.start()

    def use(self, shard: int) -> bool:
        """Whether the shard is there, which counts as use; if it is not, it is fetched sometime."""
        now = time.monotonic()
        if now - self._touched.get(shard, -1e9) < 1:  # a look at the disk a second is enough
            return True
        if not self._is_whole(kept_path(self._config, self._shards[shard]), int(self._shards[shard]["bytes"])):
            self._touched.pop(shard, None)
            if self._shards[shard]["bytes"] <= self._config.max_bytes:
                with self._news:
                    self._wanted.setdefault(shard)
                    self._news.notify()
            return False
        self._touched[shard] = now
        return True

    def close(self) -> None:
        """Stop fetching; a shard that is not whole is forgotten."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()

    def _is_whole(self, path: Path, size: int) -> bool:
        try:
            os.utime(path, follow_symlinks=False)
            about = path.lstat()
            whole = stat.S_ISREG(about.st_mode) and about.st_size == size
            if stat.S_ISREG(about.st_mode) and not whole:
                path.unlink()
            return whole
        except FileNotFoundError:
            return False

    def _fill(self) -> None:
        while True:
            with self._news:
                while not self._wanted and not self._closing:
                    self._news.wait()
                if self._closing:
                    return
                shard = next(iter(self._wanted))
            taken = self._try_to_keep(shard)
            with self._news:
                if taken:
                    self._wanted.pop(shard, None)
                else:
                    self._news.wait_for(lambda: self._closing, BUSY_SECONDS)

    def _try_to_keep(self, shard: int) -> bool:
        """False where another process is filling the folder: one at a time counts and fetches."""
        try:
            with store.folder_lock(self._folder, "filling"):
                self._keep(shard)
        except BusyError:
            return False
        except _ClosingError:
            pass
        except (UserError, OSError) as error:
            log.warning("a shard is not cached as %s: %s", kept_path(self._config, self._shards[shard]), error)
        return True

    def _keep(self, shard: int) -> None:
        path, size = kept_path(self._config, self._shards[shard]), int(self._shards[shard]["bytes"])
        if path.exists() or not self._make_room(size) or self._moved(path, size):
            return
        state = hashlib.sha256()
        with store.atomic_path(path) as temporary:
            with open(temporary, "wb") as file:
                for part in self._parts(shard, size):
                    if self._closing:
                        raise _ClosingError
                    state.update(part)
                    file.write(part)
            if state.hexdigest() != self._shards[shard]["sha256"]:
                raise UserError("its bytes are not those that dataset.json records; copy it there again.")

    def _kept(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The cache's own files."""
        for entry in self._folder.iterdir():
            if KEPT.fullmatch(entry.name) and stat.S_ISREG((about := entry.lstat()).st_mode):
                yield entry, about

    def _moved(self, path: Path, size: int) -> bool:
        """Whether an earlier version has left the shard in the given folder; then it is now at `path`."""
        old = self._config.folder / path.name
        if old.is_symlink() or not old.is_file() or old.stat().st_size != size or store.sha256(old) != path.stem:
            return False
        os.replace(old, path)
        return True

    def _parts(self, shard: int, size: int) -> Iterator[bytearray]:
        for begin in range(0, size, FETCHED_BYTES):
            yield self._fetch(shard, begin, min(begin + FETCHED_BYTES, size))

    def _make_room(self, size: int) -> bool:
        """Delete shards unused for longest until `size` more bytes fit; False where too few are idle."""
        kept = sorted((about.st_mtime, entry, about.st_size) for entry, about in self._kept())
        excess = sum(length for _, _, length in kept) + size - self._config.max_bytes
        idle = [(entry, length) for used, entry, length in kept if time.time() - used >= self._config.idle_seconds]
        leaving: list[Path] = []
        for entry, length in idle:
            if excess <= 0:
                break
            excess -= length
            leaving.append(entry)
        if excess > 0:
            return False
        for entry in leaving:
            entry.unlink()
            number = self._number_of.get(entry.stem)
            if number is not None:
                self._touched.pop(number, None)
                self._dropped(number)
        return True
