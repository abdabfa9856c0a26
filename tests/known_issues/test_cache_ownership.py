"""The cache counts and removes the files that it made, and no other file of the folder that it was given."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from avprep.shared.errors import UserError
from avtrain.data.cache import CacheConfig, ShardCache, kept_path

DATA = b"a shard" * 100


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def filled(folder, max_bytes, data=DATA, wait=True):
    """Where a shard lies, after a cache was asked for it."""
    config = CacheConfig(folder=folder, max_bytes=max_bytes, idle_seconds=0.0)
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    fetched = []

    def fetch(_shard, begin, end):
        fetched.append((begin, end))
        return bytearray(data[begin:end])

    cache = ShardCache(config, [facts], fetch, lambda _shard: None)
    cache.use(0)
    end = time.monotonic() + 30
    while cache._wanted and time.monotonic() < end:
        time.sleep(0.01)
    cache.close()
    return kept_path(config, facts), fetched


def old(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1, 1))
    return path


def test_other_tars_of_the_folder_are_neither_counted_nor_removed(folder):
    others = [old(folder / "backup.tar", bytes(5000)), old(folder / f"{'0' * 64}.tar", bytes(5000))]
    path, _ = filled(folder, max_bytes=len(DATA))
    assert path.read_bytes() == DATA
    assert [other.read_bytes() for other in others] == [bytes(5000)] * 2


def test_beside_its_own_shards_only_they_go(folder):
    """A name of its kind, a link and a folder that somebody laid there, another name."""
    place, _ = filled(folder, max_bytes=len(DATA))
    mine = place.parent
    victim = old(folder.parent / "victim", bytes(10))
    os.utime(place, (1, 1))
    kept = old(mine / "notes.tar", bytes(10)), mine / f"{'1' * 64}.tar", mine / f"{'2' * 64}.tar"
    kept[1].symlink_to(victim)
    kept[2].mkdir()
    data = DATA[::-1]
    path, _ = filled(folder, max_bytes=len(DATA), data=data)
    assert path.read_bytes() == data
    assert not place.exists()
    assert victim.read_bytes() == bytes(10)
    assert victim.stat().st_mtime == 1
    assert all(one.is_symlink() or one.exists() for one in kept)


def test_a_shard_that_an_earlier_version_kept_is_moved_and_not_fetched(folder):
    before = old(folder / f"{hashlib.sha256(DATA).hexdigest()}.tar", DATA)
    path, fetched = filled(folder, max_bytes=len(DATA))
    assert (path.read_bytes(), fetched, before.exists()) == (DATA, [], False)


def test_a_file_of_that_name_and_other_bytes_stays(folder):
    before = old(folder / f"{hashlib.sha256(DATA).hexdigest()}.tar", DATA[::-1])
    path, fetched = filled(folder, max_bytes=len(DATA))
    assert (path.read_bytes(), before.read_bytes()) == (DATA, DATA[::-1])
    assert fetched


@pytest.mark.parametrize("digest", ["../../victim", "/tmp/victim", "", "A" * 64, "0" * 63, None])
def test_a_digest_that_is_none_makes_no_path(folder, digest):
    with pytest.raises(UserError, match=r"dataset\.json names"):
        kept_path(CacheConfig(folder=folder, max_bytes=1), {"sha256": digest})
