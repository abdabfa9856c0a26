"""Ranks together have the global batches, however many there are, and whatever number a run resumes with."""

from __future__ import annotations

import numpy as np
import pytest

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.data.loader import Loader
from avtrain.data.plans import training_table
from avtrain.sampling import ClassBalanced, EasyNegative, HardNegative, Random, SoftPositive
from tests.train.forge import Forged, forge_dataset
from tests.train.tables import given_pairs

BATCH = 9
STRATEGIES = [Random(), EasyNegative(), HardNegative(), SoftPositive(0.7), ClassBalanced(), "pairs"]


@pytest.fixture(scope="module")
def uneven_dataset(tmp_path_factory):
    """38 clips of ten classes: one of 18 clips in five shards, the others of one shard with one to four clips."""
    sizes = dict(zip("abcdefghij", (18, 3, 1, 1, 2, 2, 4, 3, 2, 2), strict=True))
    clips = [Forged(label) for label, size in sizes.items() for _ in range(size)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "uneven", clips)


@pytest.fixture(scope="module")
def large_classes(tmp_path_factory):
    """35 clips of two classes: batches of nine, nine, nine and eight of one label."""
    clips = [Forged(label) for label, size in (("a", 18), ("b", 17)) for _ in range(size)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "large", clips)


def batches_of(folder, strategy, rank, world_size, first=None):
    """(plan, video, audio, flip, (epoch, step), global size) of one rank's batches, copied."""
    dataset = Dataset(folder)
    table = training_table(dataset)
    chosen = given_pairs(table) if strategy == "pairs" else strategy
    options = {"batch_size": BATCH, "epochs": 2, "seed": 3, "rank": rank, "world_size": world_size, "threads": 1}
    loader = Loader(dataset, table, chosen, **options)
    if first is not None:
        loader.load_state_dict(first)
    return [
        (b.plan, b.video.numpy().copy(), b.audio.numpy().copy(), b.flip.numpy(), (b.epoch, b.step), b.global_size)
        for b in loader
    ]


def joined(folder, strategy, world_size, first=None):
    """The global batches of all ranks together."""
    ranks = [batches_of(folder, strategy, rank, world_size, first) for rank in range(world_size)]
    for batches in zip(*ranks, strict=True):
        assert len({batch[4:] for batch in batches}) == 1
        sizes = [len(batch[0]) for batch in batches]
        assert sum(sizes) == batches[0][5]
        assert max(sizes) - min(sizes) <= 1
    return [
        (*(np.concatenate([batch[part] for batch in batches]) for part in range(4)), batches[0][4])
        for batches in zip(*ranks, strict=True)
    ]


def assert_same(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one[4] == other[4]
        for part in range(4):
            np.testing.assert_array_equal(one[part], other[part])


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_slices_of_any_number_of_ranks_rebuild_the_global_batches(uneven_dataset, large_classes, strategy):
    folder = large_classes if isinstance(strategy, HardNegative) else uneven_dataset
    alone = joined(folder, strategy, 1)
    for world_size in (2, 3, 4, 7, 8):
        assert_same(joined(folder, strategy, world_size), alone)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_a_run_that_resumes_with_other_ranks_has_the_batches_that_were_left(uneven_dataset, strategy):
    """The smallest hard batch here has two clips of one label."""
    alone = joined(uneven_dataset, strategy, 1)
    few = (2, 1) if isinstance(strategy, HardNegative) else (7, 4)
    for taken in range(1, len(alone)):
        epoch, step = alone[taken][4]
        again = joined(uneven_dataset, strategy, few[taken % 2], {"epoch": epoch, "step": step})
        assert_same(again, alone[taken:])


def test_more_ranks_than_pairs_in_the_smallest_batch_are_an_error_with_both_numbers(uneven_dataset):
    with pytest.raises(UserError, match="10 ranks cannot share a batch of 9 pairs"):
        batches_of(uneven_dataset, Random(), 0, 10)
    with pytest.raises(UserError, match="3 ranks cannot share a batch of 2 pairs, the smallest of an epoch"):
        batches_of(uneven_dataset, HardNegative(), 0, 3)


def test_a_strategy_that_cannot_serve_the_table_is_an_error_of_the_user(uneven_dataset):
    dataset = Dataset(uneven_dataset)
    with pytest.raises(UserError, match="batch of 11 clips of different labels cannot be drawn from 10 labels"):
        Loader(dataset, training_table(dataset), EasyNegative(), batch_size=11, epochs=1, seed=0)
