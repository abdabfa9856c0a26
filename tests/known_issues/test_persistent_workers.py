"""DataLoader(PlannedBatches, persistent_workers=True): set_epoch did not reach the workers, so epoch 0 came again."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from avprep.dataset import Dataset
from avtrain.data import PlannedBatches, Recipe, strategy_of, training_table
from tests.train.forge import Forged, forge_dataset


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = forge_dataset(tmp_path_factory.mktemp("dataset") / "data", [Forged("ab"[row % 2]) for row in range(12)])
    dataset = Dataset(folder)
    table = training_table(dataset)
    return Recipe(dataset=dataset, table=table, strategy=strategy_of("random", dataset, table), batch_size=4)


def taken(batches):
    return [(batch.epoch, batch.step, batch.plan.tolist(), batch.audio.clone()) for batch in batches]


def alike(some, others):
    return all(a[:3] == b[:3] and torch.equal(a[3], b[3]) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_stay_follow_the_epoch(recipe, workers):
    wanted = {epoch: taken(PlannedBatches(recipe, epoch)) for epoch in (0, 1, 5)}
    planned = PlannedBatches(recipe)
    loader = DataLoader(planned, batch_size=None, num_workers=workers, persistent_workers=True)
    for epoch in (0, 1, 5, 0):
        planned.set_epoch(epoch)
        assert alike(taken(loader), wanted[epoch])
        assert planned.epoch == epoch


def test_items_of_an_epoch_may_be_taken_in_any_order(recipe):
    planned, wanted = PlannedBatches(recipe), {epoch: taken(PlannedBatches(recipe, epoch)) for epoch in (0, 1)}
    for epoch, step in ((0, 1), (1, 1), (1, 2), (0, 2), (0, 0), (1, 0)):
        planned.set_epoch(epoch)
        assert alike(taken([planned[step]]), wanted[epoch][step : step + 1])


def test_a_copy_has_an_epoch_of_its_own(recipe):
    planned = PlannedBatches(recipe, 2)
    copies = copy.deepcopy(planned), pickle.loads(pickle.dumps(planned))
    planned.set_epoch(3)
    assert [one.epoch for one in copies] == [2, 2]
