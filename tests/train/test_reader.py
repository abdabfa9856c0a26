"""The reader gives the bytes of the clips it was asked for, or names the shard and the clip that are damaged."""

from __future__ import annotations

import os
import pickle
import shutil
import tarfile

import numpy as np
import psutil
import pytest

from avprep import schema
from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.data import Loader, PlannedBatches, Reader, Recipe, training_table
from avtrain.data import jpeg_sizes as sizes_module
from avtrain.sampling import Random, SoftPositive
from avtrain.sampling.windows import WindowSpec, draw_windows
from tests.train.forge import Forged, arrays, forge_dataset
from tests.train.test_loader import assert_equal, copies, expected, loader_of, within

CLIPS = [Forged(label, seconds=seconds) for label in "ab" for seconds in (0.3, 1.1, 1.7, 2.0)]


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def kept(request, tmp_path_factory):
    """A dataset of each codec, not to be damaged."""
    return forge_dataset(tmp_path_factory.mktemp("reader") / request.param, CLIPS, 4, request.param)


@pytest.fixture
def folder(kept, tmp_path):
    """A copy to damage."""
    return shutil.copytree(kept, tmp_path / kept.name)


def read_all(folder, threads=2):
    """Windows of every clip, sound and picture, in two readings."""
    dataset = Dataset(folder)
    rows = training_table(dataset).rows
    video = np.empty((len(rows), 8, 8, 8, 3), np.uint8)
    audio = np.empty((len(rows), 100, 6), np.float16)
    with Reader(dataset, threads) as reader:
        reader.read_frames(rows, np.zeros(len(rows), int), video)
        reader.read_logmel(rows, np.zeros(len(rows), int), audio)
    return video, audio


@pytest.mark.parametrize("threads", [1, 3])
def test_windows_of_either_codec_are_those_of_whole_clips(kept, threads):
    dataset = Dataset(kept)
    rows = np.array([7, 0, 3, 3, 1, 6])
    plan = np.stack([rows, rows[::-1]], axis=1)
    windows = draw_windows(plan, dataset.num_frames, WindowSpec(), seed=1, epoch=0, step=0)
    video, audio = np.empty((6, 8, 8, 8, 3), np.uint8), np.empty((6, 100, 6), np.float16)
    with Reader(dataset, threads) as reader:
        for _ in range(2):
            reader.read_pairs(plan, windows, video, audio)
            of_clips = expected(dataset, plan, windows)
            np.testing.assert_array_equal(video, of_clips[0])
            np.testing.assert_array_equal(audio, of_clips[1])


def test_pictures_of_jpeg_are_near_those_that_were_encoded(kept):
    video, _ = read_all(kept)
    for row, clip in enumerate(CLIPS):
        count = min(8, int(16 * clip.seconds))
        off = np.abs(video[row, :count].astype(int) - arrays(row, clip)[0][:count])
        assert off.mean() == 0 if kept.name == "raw" else 0 < off.mean() < 70  # noise at half the colours' resolution


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))


def members(folder):
    """(shard, clip id, name, offset of the tar header, bytes before the data) of every member that is read."""
    dataset = Dataset(folder)
    npy = 128 if dataset.frame_codec == "raw" else 0
    for row, clip_id in enumerate(dataset.clip_ids):
        shard = folder / dataset.shards[dataset.shard[row]]
        name = "frames.npy" if npy else "frames.mjpg"
        yield shard, clip_id, name, dataset.frames_offset[row] - 512 - npy, 512 + npy
        yield shard, clip_id, "logmel.npy", dataset.logmel_offset[row] - 640, 640


# name, size, checksum, type, magic of tar; magic, version, length, dtype, order, shape of npy
PLACES = [0, 1, 126, 134, 149, 156, 257, 512, 518, 520, 533, 553, 570]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_flipped_byte_in_a_members_header_names_shard_and_clip(folder, threads):
    for shard, clip_id, name, offset, head in list(members(folder))[5:9]:
        for place in (place for place in PLACES if place < head):
            flip(shard, offset + place)
            told = f"{shard} has another (tar|npy) header before {name} of clip {clip_id} than the index records"
            with pytest.raises(UserError, match=told):
                read_all(folder, threads)
            flip(shard, offset + place)
    read_all(folder, threads)


def test_a_sound_header_of_another_size_is_noticed(folder):
    shard, clip_id, name, offset, _ = list(members(folder))[3]
    info = tarfile.TarInfo(f"{clip_id}.{name}")
    info.size = 4096
    with open(shard, "r+b") as file:
        file.seek(offset)
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
    with pytest.raises(UserError, match=f"another tar header before {name} of clip {clip_id}"):
        read_all(folder)


def test_headers_are_read_once_a_member(kept, monkeypatch):
    dataset = Dataset(kept)
    rows = np.arange(len(dataset))
    read = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, views, offset: read.append(1) or real(handle, views, offset))
    out = np.empty((len(rows), 100, 6), np.float16)
    with Reader(dataset, threads=1) as reader:
        for calls in (2 * len(rows), len(rows)):
            read.clear()
            reader.read_logmel(rows, np.zeros(len(rows), int), out)
            assert len(read) == calls


def test_a_member_of_another_clip_is_noticed(folder):
    """Shards whose clips changed places: sizes and checksums are right, the names are not."""
    dataset = Dataset(folder)
    shards = sorted((folder / "shards").rglob("*.tar"))
    table = dict(zip(shards, [shards[1], shards[0]], strict=True))
    contents = {shard: shard.read_bytes() for shard in shards}
    assert len({len(data) for data in contents.values()}) == 1
    for shard in shards:
        shard.write_bytes(contents[table[shard]])
    with pytest.raises(
        UserError, match=r"another tar header before frames.(npy|mjpg) of clip c\d than the index records"
    ):
        read_all(folder)
    assert len(dataset) == len(CLIPS)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_shard_cut_at_a_members_boundary_is_an_error_and_no_shorter_epoch(folder, threads):
    dataset = Dataset(folder)
    shard = folder / dataset.shards[dataset.shard[2]]
    os.truncate(shard, int(dataset.frames_offset[2]) - (640 if dataset.frame_codec == "raw" else 512))
    with pytest.raises(UserError, match=rf"{shard} has \d+ bytes, not \d+"):
        within(60, lambda: copies(loader_of(folder, threads=threads)))


@pytest.fixture
def jpegs(tmp_path):
    return forge_dataset(tmp_path / "data", CLIPS, 4, "jpeg")


def test_a_damaged_picture_names_shard_and_clip(jpegs):
    dataset = Dataset(jpegs)
    shard = jpegs / dataset.shards[dataset.shard[5]]
    flip(shard, int(dataset.frames_offset[5]))
    with pytest.raises(UserError, match=f"{shard} holds a damaged picture of clip c5"):
        read_all(jpegs)


def test_frame_sizes_that_are_missing_or_disagree_are_named(jpegs):
    dataset = Dataset(jpegs)
    path = jpegs / schema.sizes_path(dataset.shards[0])
    whole = path.read_bytes()
    flip(path, 128)
    with pytest.raises(UserError, match=f"{path} disagrees with the index on clip c0"):
        read_all(jpegs)
    np.save(path.with_suffix(".shorter.npy"), np.frombuffer(whole[128:-4], "<u4"))
    shorter = path.with_suffix(".shorter.npy").read_bytes()
    for data in (whole[:-4], whole[:60], whole.replace(b"<u4", b"<i4"), shorter):
        path.write_bytes(data)
        with pytest.raises(UserError, match=f"{path} is damaged"):
            read_all(jpegs)
    path.unlink()
    with pytest.raises(UserError, match=f"{path} cannot be read"):
        read_all(jpegs)


def test_frame_sizes_are_read_again_where_memory_is_scarce(jpegs, monkeypatch):
    whole = copies(loader_of(jpegs))
    monkeypatch.setattr(sizes_module, "KEPT_BYTES", 100)
    assert_equal(copies(loader_of(jpegs)), whole)
    sizes = sizes_module.FrameSizes(Dataset(jpegs))
    for row in (0, 4, 0, 4):
        sizes.load(np.array([row]))
        assert len(sizes._sums) == 1


def test_a_clip_without_picture_gives_zeros(tmp_path):
    dataset = Dataset(forge_dataset(tmp_path / "data", CLIPS[:2]))
    dataset.frames_offset = np.array([-1, dataset.frames_offset[1]])
    dataset.num_frames = np.array([0, dataset.num_frames[1]])
    out = np.ones((2, 8, 8, 8, 3), np.uint8)
    with Reader(dataset) as reader:
        reader.read_frames(np.arange(2), np.zeros(2, int), out)
    assert not out[0].any()
    assert out[1].any()


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 100, 7), np.float16),
        np.empty((1, 100, 6), np.float16),
        np.empty((2, 100, 6), np.float32),
        np.empty((2, 200, 6), np.float16)[:, ::2],
    ],
)
def test_a_buffer_that_does_not_fit_is_refused(kept, out):
    with Reader(Dataset(kept)) as reader, pytest.raises(ValueError, match="is needed"):
        reader.read_logmel(np.arange(2), np.zeros(2, int), out)


def test_a_header_of_numpys_own_is_as_good(kept, monkeypatch):
    """numpy writes the same facts in other words than schema.npy_header."""
    _, audio = read_all(kept)
    monkeypatch.setattr(schema, "npy_header", lambda dtype, shape: b"\0" * 128)
    np.testing.assert_array_equal(read_all(kept)[1], audio)  # forge_dataset writes by numpy


def test_our_own_header_is_as_good(demo_dataset):
    dataset = Dataset(demo_dataset)
    out = np.empty((len(dataset), 100, dataset.num_mel_bands), np.float16)
    with Reader(dataset) as reader:
        reader.read_logmel(np.arange(len(dataset)), np.zeros(len(dataset), int), out)
    assert out.any()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("strategy", [Random(), SoftPositive(1.0)])
def test_planned_batches_in_a_dataloader_are_those_of_the_loader(kept, workers, strategy):
    import torch

    dataset = Dataset(kept)
    recipe = Recipe(
        dataset=dataset, table=training_table(dataset), strategy=strategy, batch_size=2, seed=5, rank=1, world_size=2
    )
    planned = PlannedBatches(recipe)
    whole = copies(Loader(dataset, recipe.table, strategy, batch_size=2, epochs=2, seed=5, rank=1, world_size=2))
    loader = torch.utils.data.DataLoader(planned, batch_size=None, num_workers=workers)
    found = []
    for epoch in range(2):
        planned.set_epoch(epoch)
        found += copies(loader)
    assert_equal(found, whole)
    assert planned[2].plan.tolist() == planned[2].plan.tolist() == whole[len(planned) + 2][2].tolist()
    with pytest.raises(IndexError):
        planned[len(planned)]


def test_planned_batches_outlive_a_fork_and_a_pickle(kept):
    import torch

    dataset = Dataset(kept)
    recipe = Recipe(dataset=dataset, table=training_table(dataset), strategy=Random(), batch_size=4)
    planned = PlannedBatches(recipe, threads=2)
    first = planned[0]  # by threads and files of this process, which a forked one cannot use
    options = {"num_workers": 1, "multiprocessing_context": "fork", "timeout": 30}
    for again in (
        torch.utils.data.DataLoader(planned, batch_size=None, **options),
        pickle.loads(pickle.dumps(planned)),
    ):
        batch = next(iter(again))
        assert torch.equal(batch.video, first.video)
        assert torch.equal(batch.audio, first.audio)


@pytest.mark.slow
def test_memory_and_open_files_stay_flat(tmp_path):
    clips = [Forged(label) for label in "ab" for _ in range(64)]
    folder = forge_dataset(tmp_path / "data", clips, 1)
    process = psutil.Process()
    seen = []
    for number, _ in enumerate(loader_of(folder, batch_size=8, epochs=130)):  # 16 batches an epoch
        if number in (400, 2000):
            seen.append((process.memory_info().rss, process.num_fds()))
    (first, files), (last, more_files) = seen
    assert more_files <= files
    assert last - first < 4e6


def test_the_last_batches_of_an_epoch_come_whatever_the_state(kept):
    loader = loader_of(kept, batch_size=3, epochs=2)
    assert len(loader) == 4
    loader.load_state_dict({"epoch": 1, "step": 1})
    assert len(loader) == 1
    assert [(batch.epoch, batch.step) for batch in loader] == [(1, 1)]
    assert len(loader) == 0
