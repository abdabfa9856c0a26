"""easy-negative: labels in a batch all different, the longest epoch that there can be, nothing preferred."""

from __future__ import annotations

import numpy as np
import pytest

from avtrain.sampling import EasyNegative
from avtrain.sampling.easy_negative import shared_out
from tests.train.tables import (
    BALANCED,
    MIXED,
    SINGLETONS,
    UNBALANCED,
    UNLABELLED,
    batch_of,
    epochs_of,
    labels_at,
    over_tables,
    plans_of,
    serves,
    sizes_of,
    table_of,
)


@over_tables
def test_labels_of_an_easy_batch_are_all_different(labels, batch_share, seed):
    table = table_of(labels)
    for batch in {1, 2, batch_of(labels, batch_share), len(sizes_of(labels))}:
        if serves(EasyNegative(), table, batch):
            for plan in plans_of(EasyNegative(), table, batch, seed):
                assert len(set(labels_at(table, plan[:, 0]))) == batch


@over_tables
def test_an_easy_epoch_ends_when_fewer_labels_than_the_batch_have_clips_left(labels, batch_share, seed):
    table = table_of(labels)
    for batch in range(1, len(sizes_of(labels)) + 1):
        used = np.concatenate(plans_of(EasyNegative(), table, batch, seed))[:, 0]
        left = table.labels[~np.isin(table.rows, used)]
        assert len(set(left[left >= 0])) < batch


@pytest.mark.parametrize(
    ("labels", "batch", "steps"),
    [(BALANCED, 3, 8), (BALANCED, 2, 12), (UNBALANCED, 3, 1), (UNBALANCED, 2, 4), (SINGLETONS, 5, 4), (MIXED, 4, 1)],
)
def test_steps_of_an_easy_epoch(labels, batch, steps):
    assert EasyNegative().steps(table_of(labels), batch) == steps


@pytest.mark.parametrize(
    ("labels", "batch", "classes"), [(BALANCED, 4, 3), (UNLABELLED, 2, 0), (MIXED, 5, 4), (BALANCED, 0, 3)]
)
def test_an_easy_batch_of_more_pairs_than_labels_is_an_error_with_both_numbers(labels, batch, classes):
    sentence = f"batch of {batch} clips of different labels cannot be drawn from {classes} labels"
    with pytest.raises(ValueError, match=sentence):
        EasyNegative().steps(table_of(labels), batch)
    with pytest.raises(ValueError, match=sentence):
        plans_of(EasyNegative(), table_of(labels), batch)


@pytest.mark.slow
def test_over_easy_epochs_the_clips_of_a_label_are_equally_likely():
    table = table_of([0] * 9 + [1] * 6 + [2] * 3 + [3] * 3)
    used = np.concatenate(epochs_of(EasyNegative(), table, 3, epochs=2000))[:, 0]
    steps = EasyNegative().steps(table, 3)
    assert steps == 6  # 6 + 6 + 3 + 3 clips fill six batches of three
    for label, share in ((0, 6 / 9), (1, 1), (2, 1), (3, 1)):
        counts = np.array([(used == row).sum() for row in table.rows[table.labels == label]])
        assert (np.abs(counts - 2000 * share) < 120).all()  # five standard deviations


def test_in_an_easy_epoch_every_two_labels_meet_as_often_as_any():
    table = table_of(list(range(8)) * 500)
    batches = np.array([labels_at(table, plan[:, 0]) for plan in plans_of(EasyNegative(), table, 4)])
    assert batches.shape == (1000, 4)
    there = np.zeros((1000, 8))
    np.put_along_axis(there, batches, 1, axis=1)
    together = there.T @ there
    expected = 1000 * 4 * 3 / (8 * 7)
    assert (np.abs(together[~np.eye(8, dtype=bool)] / expected - 1) < 0.25).all()


def test_over_easy_epochs_every_step_has_all_labels_alike():
    table = table_of(list(range(8)) * 5)
    batches = np.array([labels_at(table, plan[:, 0]) for plan in epochs_of(EasyNegative(), table, 4, epochs=500)])
    counts = np.array([np.bincount(batches[step::10].ravel(), minlength=8) for step in range(10)])
    assert (np.abs(counts / 500 - 0.5) < 0.12).all()


@pytest.mark.parametrize("clips", [1, 4])
def test_the_order_of_labels_in_an_easy_batch_is_random(clips):
    table = table_of(list(range(6)) * clips)
    plans = epochs_of(EasyNegative(), table, 6, epochs=1200 // clips)
    batches = np.array([labels_at(table, plan[:, 0]) for plan in plans])
    counts = np.array([np.bincount(place, minlength=6) for place in batches.T])
    assert (np.abs(counts - 200) < 75).all()


def test_sharing_out_keeps_sums_and_expectations():
    counts, draws = np.array([5, 1, 0, 3, 7]), np.random.default_rng(0)
    found = np.array([shared_out(counts, 3, 8, draws) for _ in range(4000)])
    assert (found.sum(axis=1) == 6).all()
    assert (np.abs(found - counts * 3 / 8) < 1).all()
    assert (np.abs(found.mean(axis=0) - counts * 3 / 8) < 0.04).all()
