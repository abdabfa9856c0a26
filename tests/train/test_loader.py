"""Batches are the planned windows of the planned clips, whatever the ranks, interruptions and damage."""

from __future__ import annotations

import io
import os
import tarfile
import threading
import time

import numpy as np
import pytest
import torch

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.data import local_shards as local_module
from avtrain.data.clips import even_starts, read_pairs, read_windows, whole_clips
from avtrain.data.loader import Loader
from avtrain.data.plans import training_table
from avtrain.data.reader import Reader
from avtrain.sampling import Random, SoftPositive
from avtrain.sampling.windows import WindowSpec, aligned_windows, draw_windows
from tests.train.forge import Forged, arrays, forge_dataset

SPEC = WindowSpec()


def loader_of(folder, strategy=None, **options):
    dataset = Dataset(folder)
    settings = {"batch_size": 4, "epochs": 2, "seed": 5} | options
    return Loader(dataset, training_table(dataset), strategy or SoftPositive(1.0), **settings)


def copies(loader):
    """All batches to come as (epoch, step, plan, video, audio, flip), each a copy."""
    return [
        (
            batch.epoch,
            batch.step,
            batch.plan,
            batch.video.numpy().copy(),
            batch.audio.numpy().copy(),
            batch.flip.numpy(),
        )
        for batch in loader
    ]


def assert_equal(batches, others):
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        for one, two in zip(batch, other, strict=True):
            np.testing.assert_array_equal(one, two)


def expected(dataset, plan, windows):
    """The windows of a plan cut from whole clips; a short clip repeats its last picture, goes on at its minimum."""
    video, audio = [], []
    for (audio_row, video_row), frame, mel in zip(plan, windows.frame, windows.mel_frame, strict=True):
        pictures = dataset.read_clip(video_row).frames[frame : frame + 8]
        video.append(np.concatenate([pictures, np.repeat(pictures[-1:], 8 - len(pictures), axis=0)]))
        whole = dataset.read_clip(audio_row).logmel
        sound = whole[mel : mel + 100]
        audio.append(np.concatenate([sound, np.full((100 - len(sound), whole.shape[1]), whole.min())]))
    return np.stack(video), np.stack(audio).astype(np.float16)


def within(seconds, function):
    """What `function` returns or raises; fails where it takes longer than `seconds`."""
    outcome = []

    def run():
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"hangs for {seconds} s"
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def test_whole_clips_are_those_of_the_tar(demo_dataset):
    dataset = Dataset(demo_dataset)
    for row in range(0, len(dataset), 9):
        with tarfile.open(demo_dataset / dataset.shards[dataset.shard[row]]) as tar:
            (name,) = [
                member[: -len(".json")]
                for member in tar.getnames()
                if member.endswith(".json") and f'"{dataset.clip_ids[row]}"'.encode() in tar.extractfile(member).read()
            ]
            frames, logmel = (
                np.load(io.BytesIO(tar.extractfile(f"{name}.{kind}.npy").read())) for kind in ("frames", "logmel")
            )
        clip = dataset.read_clip(row)
        np.testing.assert_array_equal(clip.frames, frames)
        np.testing.assert_array_equal(clip.logmel, logmel)


@pytest.mark.parametrize("folder", ["demo_dataset", "short_dataset"])
@pytest.mark.parametrize("strategy", [Random(), SoftPositive(1.0)])
def test_batches_are_the_windows_of_whole_clips(folder, strategy, request):
    loader = loader_of(request.getfixturevalue(folder), strategy)
    dataset = loader.recipe.dataset
    batches = copies(loader)
    planned = [
        (epoch, step, plan)
        for epoch in range(2)
        for step, plan in enumerate(strategy.plan(loader.recipe.table, batch_size=4, seed=5, epoch=epoch))
    ]
    assert len(batches) == len(planned) == 2 * loader.steps_per_epoch
    for (epoch, step, plan), batch in zip(planned, batches, strict=True):
        assert batch[:2] == (epoch, step)
        np.testing.assert_array_equal(batch[2], plan)
        windows = draw_windows(plan, dataset.num_frames, SPEC, seed=5, epoch=epoch, step=step)
        video, audio = expected(dataset, plan, windows)
        assert (batch[3].dtype, batch[4].dtype) == (np.uint8, np.float16)
        np.testing.assert_array_equal(batch[3], video)
        np.testing.assert_array_equal(batch[4], audio)
        np.testing.assert_array_equal(batch[5], windows.flip)


def test_a_short_clip_repeats_its_last_picture_and_goes_on_at_its_minimum(short_dataset):
    dataset = Dataset(short_dataset)
    (row,) = [row for row, name in enumerate(dataset.clip_ids) if name == "c1"]
    frames, logmel = arrays(1, Forged("cat", seconds=0.3))
    plan = np.array([[row, row]])
    windows = aligned_windows(dataset.num_frames[[row]], np.array([0.5]), SPEC)
    with Reader(dataset) as reader:
        video, audio = read_pairs(dataset, reader, plan, windows, SPEC)
    np.testing.assert_array_equal(video[0], frames[[0, 1, 2, 3, 3, 3, 3, 3]])
    np.testing.assert_array_equal(audio[0, :31], logmel)
    assert (audio[0, 31:] == logmel.min()).all()


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_are_the_batches_of_one(demo_dataset, world_size):
    alone = copies(loader_of(demo_dataset, batch_size=8, epochs=1))
    ranks = [
        list(
            zip(
                *copies(loader_of(demo_dataset, batch_size=8, epochs=1, rank=rank, world_size=world_size)),
                strict=True,
            )
        )
        for rank in range(world_size)
    ]
    assert [len(rank[3][0]) for rank in ranks] == {2: [4, 4], 3: [3, 3, 2]}[world_size]
    for field in range(2, 6):
        for step, batch in enumerate(alone):
            joined = np.concatenate([rank[field][step] for rank in ranks])
            np.testing.assert_array_equal(joined, batch[field])


def test_each_rank_knows_the_size_of_the_whole_batch(demo_dataset):
    assert {batch.global_size for batch in loader_of(demo_dataset, batch_size=8, rank=2, world_size=3)} == {8}


@pytest.mark.parametrize("taken", [0, 1, 2, 3, 4, 7])
def test_a_loader_with_the_state_of_another_goes_on_where_that_was(short_dataset, taken):
    whole = copies(loader_of(short_dataset, epochs=3))  # three batches an epoch
    first = loader_of(short_dataset, epochs=3)
    batches = iter(first)
    for _ in range(taken):
        next(batches)
    state = first.state_dict()
    batches.close()
    second = loader_of(short_dataset, epochs=3)
    second.load_state_dict(state)
    assert second.state_dict() == state == {"epoch": taken // 3, "step": taken % 3}
    assert_equal(copies(second), whole[taken:])


@pytest.mark.parametrize("taken", [1, 3, 7, 11])
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (2, 4)])
def test_a_run_goes_on_with_another_number_of_ranks(short_dataset, taken, before, after):
    whole = copies(loader_of(short_dataset, epochs=4))
    states = []
    for rank in range(before):
        loader = loader_of(short_dataset, epochs=4, rank=rank, world_size=before)
        batches = iter(loader)
        for _ in range(taken):
            next(batches)
        states.append(loader.state_dict())
        batches.close()
    assert all(state == states[0] for state in states)
    ranks = []
    for rank in range(after):
        loader = loader_of(short_dataset, epochs=4, rank=rank, world_size=after)
        loader.load_state_dict(states[0])
        ranks.append(copies(loader))
    joined = [
        (*parts[0][:2], *(np.concatenate([part[field] for part in parts]) for field in range(2, 6)))
        for parts in zip(*ranks, strict=True)
    ]
    assert_equal(joined, whole[taken:])


def test_a_loader_at_its_end_has_no_batches(short_dataset):
    loader = loader_of(short_dataset)
    assert len(list(loader)) == 6
    assert loader.state_dict() == {"epoch": 2, "step": 0}
    assert list(loader) == []


@pytest.mark.parametrize("prefetch", [1, 2, 4])
def test_a_batch_is_valid_until_prefetch_more_were_taken(short_dataset, prefetch):
    loader = loader_of(short_dataset, epochs=8, prefetch=prefetch)
    held = []
    for batch in loader:
        time.sleep(0.02)  # lets the thread read as far ahead as it can
        held = [*held, (batch, batch.video.clone(), batch.audio.clone())][-prefetch - 1 :]
        for old, video, audio in held:
            assert torch.equal(old.video, video)
            assert torch.equal(old.audio, audio)


def test_buffers_are_used_again(short_dataset):
    addresses = [batch.video.data_ptr() for batch in loader_of(short_dataset, epochs=10, prefetch=2)]
    assert len(addresses) == 30
    assert len(set(addresses)) <= 6


@pytest.fixture
def damaged(tmp_path):
    """(dataset folder, path of one of its shards) to damage."""
    folder = forge_dataset(tmp_path / "data", [Forged(label) for label in "abc" for _ in range(4)])
    return folder, folder / "shards/train/0001-b/000000.tar"


def test_a_deleted_shard_is_an_error_with_its_name(damaged):
    folder, shard = damaged
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard} cannot be read"):
        within(60, lambda: list(loader_of(folder)))


def test_a_truncated_shard_is_an_error_with_its_name(damaged):
    folder, shard = damaged
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(UserError, match=f"{shard} has .* bytes, not"):
        within(60, lambda: list(loader_of(folder)))


def test_a_shard_that_is_cut_while_it_is_open_is_an_error_with_its_name(damaged):
    folder, shard = damaged
    dataset = Dataset(folder)
    rows = training_table(dataset).rows
    with Reader(dataset) as reader:
        read_windows(dataset, reader, rows, np.zeros(len(rows), int))
        os.truncate(shard, 3000)
        with pytest.raises(UserError, match=f"{shard} is shorter"):
            within(60, lambda: read_windows(dataset, reader, rows, np.zeros(len(rows), int)))


def test_a_trainer_that_stops_early_leaves_no_thread(short_dataset):
    batches = iter(loader_of(short_dataset, epochs=1000))
    next(batches)
    assert any(thread.name == "loader" for thread in threading.enumerate())
    within(60, batches.close)
    assert not any(thread.name == "loader" for thread in threading.enumerate())


@pytest.mark.parametrize(("limit", "threads"), [(2, 1), (2, 2), (1, 4)])
def test_few_files_are_open_at_a_time_and_none_in_the_end(tmp_path, monkeypatch, limit, threads):
    clips = [Forged("a") for _ in range(12)]
    folder = forge_dataset(tmp_path / "data", clips, clips_per_shard=1)
    whole = copies(loader_of(folder, threads=threads))
    opened, most, lock = set(), [0], threading.Lock()
    real_open, real_close = os.open, os.close

    def counting_open(path, *rest, **options):
        handle = real_open(path, *rest, **options)
        if str(path).endswith(".tar"):
            with lock:
                opened.add(handle)
                most[0] = max(most[0], len(opened))
        return handle

    def counting_close(handle):
        with lock:
            opened.discard(handle)
        real_close(handle)

    monkeypatch.setattr(local_module, "OPEN_FILES", limit)
    monkeypatch.setattr(os, "open", counting_open)
    monkeypatch.setattr(os, "close", counting_close)
    assert_equal(copies(loader_of(folder, threads=threads)), whole)
    assert 1 <= most[0] <= max(limit, threads)
    assert not opened


def test_whole_clips_come_once_each_and_short_ones_as_long_as_a_window(short_dataset):
    dataset = Dataset(short_dataset)
    rows = training_table(dataset).rows[::-1].copy()
    with Reader(dataset) as reader:
        batches = list(whole_clips(dataset, reader, rows, batch_size=3))
    assert all(len(positions) == len(logmel) <= 3 for positions, logmel in batches)
    assert sorted(np.concatenate([positions for positions, _ in batches])) == list(range(len(rows)))
    for positions, logmel in batches:
        for position, padded in zip(positions, logmel, strict=True):
            sound = dataset.read_clip(rows[position]).logmel
            assert len(padded) == max(len(sound), 100)
            np.testing.assert_array_equal(padded[: len(sound)], sound)
            assert (padded[len(sound) :] == sound.min()).all()


def test_even_starts_reach_from_start_to_end():
    num_mel_frames = np.array([237, 100, 31], np.int32)
    assert even_starts(num_mel_frames, 3).tolist() == [[0, 68, 137], [0, 0, 0], [0, 0, 0]]
    assert even_starts(num_mel_frames, 1).tolist() == [[68], [0], [0]]
