"""A remote dataset gives the batches of the local one, whatever its server does; or one sentence says why not."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time

import numpy as np
import pytest
from torch.utils.data import DataLoader

from avprep.dataset import Dataset
from avprep.shared import store
from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath, Retry
from avtrain.config import PretrainConfig
from avtrain.data import CacheConfig, Loader, PlannedBatches, Recipe, training_table
from avtrain.data import cache as cache_module
from avtrain.data.byte_ranges import Ranges
from avtrain.data.cache import FOLDER, ShardCache, kept_path
from avtrain.data.remote_shards import GAP_BYTES, coalesce
from avtrain.runs import folder as run_folder
from avtrain.sampling import SoftPositive
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset
from tests.train.servers import bucket_serving, serving
from tests.train.test_loader import assert_equal, copies, within

QUICK = Retry(attempts=5, first_wait_seconds=0.01, attempt_seconds=1.0)


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def either(request, tmp_path_factory):
    """A small dataset of each codec."""
    clips = [Forged(label, seconds=seconds) for label in "abc" for seconds in (0.3, 1.1, 1.7, 2.0)]
    return forge_dataset(tmp_path_factory.mktemp("remote") / request.param, clips, 2, request.param)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A small dataset."""
    clips = [Forged(label) for label in "abc" for _ in range(4)]
    return forge_dataset(tmp_path_factory.mktemp("remote") / "stored", clips, 2)


@pytest.fixture
def served(stored):
    with serving(stored) as server:
        yield server


def remote_dataset(server, retry=QUICK):
    return Dataset(RemotePath(server.url, retry))


def loader_of(dataset, **options):
    settings = {"batch_size": 4, "epochs": 2, "seed": 5} | options
    return Loader(dataset, training_table(dataset), SoftPositive(1.0), **settings)


@pytest.fixture
def whole(stored):
    return copies(loader_of(Dataset(stored)))


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_over_http_batches_and_clips_are_the_same(either):
    local = Dataset(either)
    with serving(either) as server:
        dataset = Dataset(server.url)
        assert_equal(copies(loader_of(dataset)), copies(loader_of(local)))
        assert dataset.digest == local.digest
        assert (dataset.groups == local.groups).all()
        assert local.local_folder == either
        with pytest.raises(UserError, match="is not on this machine"):
            dataset.local_folder  # noqa: B018
        for row in range(0, len(local), 5):
            np.testing.assert_array_equal(dataset.read_clip(row).frames, local.read_clip(row).frames)
            np.testing.assert_array_equal(dataset.read_clip(row).logmel, local.read_clip(row).logmel)


def test_opening_a_dataset_fetches_its_index_once(served):
    remote_dataset(served)
    assert served.requests["/index.parquet"] == 1


def test_worker_processes_reach_a_server_that_their_parent_has_reached(stored, served):
    def batches(dataset, **options):
        recipe = Recipe(dataset=dataset, table=training_table(dataset), strategy=SoftPositive(1.0), batch_size=4)
        planned = PlannedBatches(recipe, threads=2)
        return copies([planned[0]]) + copies(DataLoader(planned, batch_size=None, **options))

    options = {"num_workers": 2, "multiprocessing_context": "fork", "timeout": 30}
    assert_equal(batches(remote_dataset(served), **options), batches(Dataset(stored)))


def test_in_fsspecs_memory_batches_are_the_same(either):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(either), "/kept", recursive=True)
    try:
        assert_equal(copies(loader_of(Dataset("memory://kept"))), copies(loader_of(Dataset(either))))
    finally:
        memory.rm("/kept", recursive=True)


@pytest.mark.slow
def test_from_an_s3_endpoint_batches_are_the_same(either):
    with bucket_serving("bucket") as bucket:
        for path in either.rglob("*"):
            if path.is_file():
                bucket.put(path, f"data/{path.relative_to(either)}")
        assert_equal(copies(loader_of(Dataset("s3://bucket/data"))), copies(loader_of(Dataset(either))))
        with pytest.raises(UserError, match="s3://bucket/none is no finished dataset"):
            Dataset("s3://bucket/none")


@pytest.mark.parametrize("fault", ["503", "reset", "short", "fewer", "slow"])
def test_three_faults_in_a_row_are_retried_and_logged(served, whole, fault, caplog):
    dataset = remote_dataset(served)
    served.faults += 3 * [fault]
    assert_equal(within(60, lambda: copies(loader_of(dataset))), whole)
    assert not served.faults
    told = warnings_of(caplog)
    assert len(told) >= 3 or fault == "reset"  # aiohttp may repeat those by itself
    assert all(served.url in line and "attempt" in line for line in told)
    assert fault != "503" or all("HTTP 503" in line for line in told)


@pytest.mark.parametrize("fault", ["503", "fewer"])
def test_a_server_that_stays_down_is_an_error_that_names_the_file(served, fault):
    dataset = remote_dataset(served)
    served.faults += 10_000 * [fault]
    with pytest.raises(UserError, match=rf"{served.url}/shards/.* could not be read in 5 attempts"):
        within(60, lambda: copies(loader_of(dataset)))


def test_a_server_that_is_not_there_is_an_error(served):
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/dataset.json could not be read in 5 attempts"):
        within(60, lambda: Dataset(RemotePath("http://127.0.0.1:9", QUICK)))


def test_a_server_that_ignores_ranges_is_noticed_before_shards_are_fetched(served):
    dataset = remote_dataset(served)
    served.honours_ranges = False
    with pytest.raises(UserError, match=r"dataset\.json came whole where a range was asked"):
        within(60, lambda: copies(loader_of(dataset)))
    assert not any(path.endswith(".tar") for path in served.sent)


@pytest.fixture
def broken(tmp_path):
    """(server, path of a shard) of a dataset to damage."""
    folder = forge_dataset(tmp_path / "data", [Forged(label) for label in "abc" for _ in range(4)])
    with serving(folder) as server:
        yield server, folder / "shards/train/0001-b/000000.tar"


def test_a_shard_that_is_gone_short_or_altered_is_an_error_with_its_name(broken):
    server, shard = broken
    dataset = remote_dataset(server)
    url = f"{server.url}/shards/train/0001-b/000000.tar"
    data = shard.read_bytes()
    for damage, told in (
        (None, "does not exist"),
        (data[:-512], f"has {len(data) - 512} bytes, not {len(data)}"),
        (bytes([data[0] ^ 1]) + data[1:], "has another tar header before frames.npy of clip c4"),
    ):
        shard.unlink(missing_ok=True)
        if damage is not None:
            shard.write_bytes(damage)
        with pytest.raises(UserError, match=f"{url} {told}"):
            within(60, lambda: copies(loader_of(dataset)))


def test_credentials_are_shown_nowhere(served, caplog):
    with pytest.raises(UserError) as refused:
        Dataset(RemotePath(served.url.replace("//", "//user:word@") + "/none", QUICK))
    served.faults, served.faulty = ["503", "503"], ".parquet"
    dataset = Dataset(RemotePath(served.url.replace("//", "//user:word@"), QUICK))
    told = [str(refused.value), str(dataset.folder), *warnings_of(caplog)]
    assert len(told) == 4
    assert not any("word" in text or "user" in text for text in told)
    with pytest.raises(UserError) as refused:
        Dataset(served.url + "/?token=word")
    assert "query" in str(refused.value)
    assert "word" not in str(refused.value)


def test_a_url_of_no_known_kind_is_an_error():
    with pytest.raises(UserError, match=r"ftps3://x cannot be opened .* can be read"):
        Dataset("ftps3://x")


def ranges_of(*rows):
    return Ranges(*np.array(rows, np.int64).T)


def test_neighbours_are_fetched_together_if_little_lies_between():
    together = coalesce(ranges_of((0, 0, 1000), (0, 1100, 1000), (0, 500, 100)))
    assert [(run.begin, run.end, sorted(run.items)) for run in together] == [(0, 2100, [0, 1, 2])]
    for apart in (
        ranges_of((0, 0, 1000), (0, 1500, 1000)),  # a fifth of what is needed is too little for the gap
        ranges_of((0, 0, 1000), (1, 1000, 1000)),  # another shard
        ranges_of((0, 0, 10**7), (0, 10**7 + GAP_BYTES + 1, 10**7)),  # farther than a request is worth
    ):
        assert [run.items for run in coalesce(apart)] == [[0], [1]]


def test_over_http_little_more_is_fetched_than_needed(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged(label, seconds=20) for label in "abc" for _ in range(8)], 8)
    with serving(folder) as server:
        batches = copies(loader_of(Dataset(server.url), batch_size=12))
        needed = sum(video.nbytes + audio.nbytes for _, _, _, video, audio, _ in batches)
        heads = 2 * 24 * 640
        assert (
            needed <= sum(sent for path, sent in server.sent.items() if path.endswith(".tar")) <= 1.2 * needed + heads
        )


def cached_loader(server, folder, max_bytes=10**9, **options):
    idle_seconds = options.pop("idle_seconds", 0.0)
    config = CacheConfig(folder=folder, max_bytes=max_bytes, idle_seconds=idle_seconds)
    return loader_of(remote_dataset(server), cache=config, **options)


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "not in 30 s"
        time.sleep(0.02)


def fill(server, folder, **options):
    """Read on until the cache stands still, and return the loader's last batches."""
    loader = cached_loader(server, folder, epochs=1000, **options)
    seen = -1
    for number, _ in enumerate(loader):
        time.sleep(0.01)
        if number % 20 == 19:
            now = len(list((folder / FOLDER).glob("*.tar")))
            if now == seen:
                return
            seen = now


def test_the_cache_fills_behind_and_serves_the_next_process(stored, served, whole, tmp_path):
    fill(served, tmp_path)
    kept = {path.name: path.read_bytes() for path in (tmp_path / FOLDER).glob("*.tar")}
    shards = [path.read_bytes() for path in stored.rglob("*.tar")]
    assert sorted(kept.values()) == sorted(shards)
    served.sent.clear()
    assert_equal(copies(cached_loader(served, tmp_path)), whole)
    assert not any(path.endswith(".tar") for path in served.sent)


@pytest.mark.slow
def test_the_cache_stays_within_its_size_and_the_shard_used_longest_ago_goes(stored, served, whole, tmp_path):
    largest = max(path.stat().st_size for path in stored.rglob("*.tar"))
    fill(served, tmp_path, max_bytes=2 * largest)
    kept = list((tmp_path / FOLDER).glob("*.tar"))
    assert 1 <= len(kept) <= 3
    assert sum(path.stat().st_size for path in kept) <= 2 * largest
    old = tmp_path / FOLDER / ("0" * 64 + ".tar")
    old.write_bytes(bytes(2 * largest))
    for path in kept:
        path.unlink()
    os.utime(old, (1, 1))
    assert_equal(copies(cached_loader(served, tmp_path, max_bytes=2 * largest)), whole)
    fill(served, tmp_path, max_bytes=2 * largest)
    assert not old.exists()
    assert list((tmp_path / FOLDER).glob("*.tar"))


def test_what_was_used_lately_stays_in_the_cache(served, whole, tmp_path):
    lately = tmp_path / FOLDER / ("0" * 64 + ".tar")
    lately.parent.mkdir()
    lately.write_bytes(bytes(10**6))
    fill(served, tmp_path, max_bytes=10**6, idle_seconds=600)
    assert [path.name for path in (tmp_path / FOLDER).glob("*.tar")] == [lately.name]


def test_an_altered_shard_is_not_kept_and_a_cut_one_is_fetched_again(stored, served, whole, tmp_path, caplog):
    shard = next(stored.rglob("*.tar"))
    data = shard.read_bytes()
    try:
        shard.write_bytes(data[:-1] + b"x")  # in the zeros after the last member
        fill(served, tmp_path)
        assert any("its bytes are not those" in line for line in warnings_of(caplog))
    finally:
        shard.write_bytes(data)
    kept = sorted((tmp_path / FOLDER).glob("*.tar"))
    assert len(kept) == len(list(stored.rglob("*.tar"))) - 1
    os.truncate(kept[0], 100)
    assert_equal(copies(cached_loader(served, tmp_path)), whole)
    fill(served, tmp_path)
    assert kept[0].stat().st_size > 100


def cache_of(folder, data, fetch=None, **options):
    """A cache of one shard, whose bytes are `data`."""
    config = CacheConfig(folder=folder, **({"max_bytes": 1000, "idle_seconds": 0.0} | options))
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    whole = fetch or (lambda _shard, begin, end: bytearray(data[begin:end]))
    return ShardCache(config, [facts], whole, lambda _shard: None), kept_path(config, facts)


def test_the_shard_used_longest_ago_goes_first_and_no_more_than_must(tmp_path):
    used = [5, 3, 8, 1, 9, 2, 7, 4]
    for when in used:
        path = tmp_path / FOLDER / f"{hashlib.sha256(bytes([when])).hexdigest()}.tar"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (when, when))
    cache, path = cache_of(tmp_path, bytes(350))  # 150 too many
    assert not cache.use(0)
    until(path.exists)
    cache.close()
    assert cache.use(0)
    stayed = {int(entry.stat().st_mtime) for entry in (tmp_path / FOLDER).glob("*.tar")} - {int(path.stat().st_mtime)}
    assert stayed == set(used) - {1, 2}


def test_a_cache_closes_without_waiting_for_the_rest_of_a_shard(tmp_path, monkeypatch):
    begun = threading.Event()

    def fetch(_shard, begin, end):
        begun.set()
        time.sleep(0.1)
        return bytearray(end - begin)

    monkeypatch.setattr(cache_module, "FETCHED_BYTES", 1)
    cache, _ = cache_of(tmp_path, bytes(900), fetch)
    cache.use(0)
    assert begun.wait(30)
    within(20, cache.close)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [store.LOCK]


def test_a_shard_larger_than_the_cache_is_not_fetched(tmp_path):
    cache, _ = cache_of(tmp_path, bytes(1001), lambda *_: pytest.fail("fetched"))
    assert not cache.use(0)
    cache.close()
    assert not cache._wanted


def test_two_processes_share_a_cache(tmp_path):
    """While another fills it, this one waits for its turn, and finds what has been fetched meanwhile."""
    (tmp_path / FOLDER).mkdir()
    with store.folder_lock(tmp_path / FOLDER, "filling"):
        cache, path = cache_of(tmp_path, bytes(100))
        assert not cache.use(0)
        time.sleep(0.2)
        assert not path.exists()
    until(path.exists)
    cache.close()


def test_a_folder_that_cannot_be_locked_is_reported_once(tmp_path, caplog):
    (tmp_path / FOLDER / store.LOCK).mkdir(parents=True)
    cache, path = cache_of(tmp_path, bytes(100))
    assert not cache.use(0)
    until(lambda: not cache._wanted)
    cache.close()
    assert not path.exists()
    assert [record.message for record in caplog.records if "is not cached" in record.message] == [
        f"a shard is not cached as {path}: {tmp_path / FOLDER / store.LOCK} cannot be written (Is a directory); "
        "make room or permission there and repeat."
    ]


def test_pretraining_over_http_learns_what_it_learns_locally(stored, served, tmp_path):
    settings = {
        "model_size": "tiny",
        "strategy": "soft-positive",
        "batch_size": 4,
        "max_steps": 4,
        "spec_augment": True,
    }
    config = PretrainConfig(**settings)
    cache = CacheConfig(folder=tmp_path / "kept", max_bytes=10**9)
    losses = []
    for name, place, kept in (("near", stored, None), ("far", served.url, cache), ("plain", stored, None)):
        if name == "plain":
            config = PretrainConfig(**(settings | {"spec_augment": False}))
        pretrain(place, tmp_path / name, config, cache=kept, quiet=True)
        losses.append([line["loss"] for line in run_folder.read_metrics(tmp_path / name)])
    assert losses[0] == losses[1] != losses[2]
