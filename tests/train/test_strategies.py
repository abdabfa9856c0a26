"""What each strategy promises of its own: which labels meet, who is a partner, how often, how long an epoch is."""

from __future__ import annotations

import numpy as np
import pytest

from avtrain.sampling import ClassBalanced, HardNegative, Pairs, Random, SoftPositive
from tests.train.tables import (
    BALANCED,
    SINGLETONS,
    UNBALANCED,
    UNLABELLED,
    batch_of,
    epochs_of,
    given_pairs,
    labels_at,
    over_tables,
    plans_of,
    serves,
    sizes_of,
    table_of,
)


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


# random, soft-positive


@over_tables
def test_random_leaves_out_less_than_a_batch(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    assert Random().steps(table, batch) == SoftPositive().steps(table, batch) == len(labels) // batch


@over_tables
def test_soft_positive_takes_another_clip_of_the_same_label_wherever_there_is_one(labels, batch_share, seed):
    table = table_of(labels)
    audio, video = np.concatenate(plans_of(SoftPositive(1.0), table, batch_of(labels, batch_share), seed)).T
    own = labels_at(table, audio)
    mates = np.array([labels.count(label) for label in own])
    keeps_itself = (own < 0) | (mates == 1)
    assert (labels_at(table, video) == own).all()
    assert ((audio == video) == keeps_itself).all()


@over_tables
def test_soft_positive_of_probability_0_is_random_bit_for_bit(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    for soft, plain in zip(
        plans_of(SoftPositive(0.0), table, batch, seed), plans_of(Random(), table, batch, seed), strict=True
    ):
        np.testing.assert_array_equal(soft, plain)


@over_tables
def test_every_probability_and_share_has_the_same_anchors(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    plain = np.concatenate(plans_of(Random(), table, batch, seed))[:, 0]
    for strategy in (SoftPositive(0.5), SoftPositive(1.0), SoftPositive(1.0, labelled=0.4)):
        np.testing.assert_array_equal(np.concatenate(plans_of(strategy, table, batch, seed))[:, 0], plain)


def test_partners_are_drawn_anew_each_epoch():
    table = table_of([0] * 24)
    partner = [dict(np.concatenate(plans_of(SoftPositive(1.0), table, 8, epoch=epoch))) for epoch in range(2)]
    same = sum(partner[0][anchor] == partner[1][anchor] for anchor in table.rows)
    assert same <= 6  # by chance 24 / 23


def test_probability_one_half_replaces_about_half_of_the_pictures():
    table = table_of([0, 1] * 200)
    plan = np.concatenate(epochs_of(SoftPositive(0.5), table, 100, epochs=25))
    assert len(plan) == 10_000
    assert 0.48 < (plan[:, 0] != plan[:, 1]).mean() < 0.52  # four standard deviations


def test_each_classmate_is_equally_likely():
    table = table_of([1, 0, 0, 1, 0, 2, 0, 0])  # label 0 has five clips
    plan = np.concatenate(epochs_of(SoftPositive(1.0), table, 8, epochs=2000))
    rows = table.rows[table.labels == 0]
    counts = np.array([[(plan == (anchor, mate)).all(axis=1).sum() for mate in rows] for anchor in rows])
    off_diagonal = counts[~np.eye(5, dtype=bool)]
    assert np.trace(counts) == 0
    assert off_diagonal.sum() == 10_000
    assert chi_square(off_diagonal, 500) < 50  # 15 degrees of freedom: exceeded once in 100 000


def test_a_share_of_labels_pairs_these_clips_among_themselves_in_all_epochs():
    table = table_of([0] * 60 + [1] * 30 + [-1] * 10)
    plan = np.concatenate(epochs_of(SoftPositive(1.0, labelled=0.5), table, 20, epochs=40))
    soft = plan[plan[:, 0] != plan[:, 1]]
    assert len(np.unique(soft[:, 0])) == 45
    assert set(soft[:, 0]) == set(soft[:, 1])
    assert not np.isin(plan[plan[:, 0] == plan[:, 1]], soft).any()
    other = np.concatenate(epochs_of(SoftPositive(1.0, labelled=0.5), table, 20, epochs=40, seed=1))
    assert set(other[other[:, 0] != other[:, 1]][:, 0]) != set(soft[:, 0])


def test_a_share_of_0_has_no_soft_pair_and_of_1_hides_nothing():
    table = table_of(UNBALANCED)
    none, every = (epochs_of(SoftPositive(1.0, labelled=share), table, 8, epochs=3) for share in (0.0, 1.0))
    for hidden, plain in zip(none, epochs_of(Random(), table, 8, epochs=3), strict=True):
        np.testing.assert_array_equal(hidden, plain)
    for whole, plain in zip(every, epochs_of(SoftPositive(1.0), table, 8, epochs=3), strict=True):
        np.testing.assert_array_equal(whole, plain)


@pytest.mark.parametrize("labelled", [1.0, 0.5])
def test_clips_without_a_label_are_in_no_batch_where_they_are_skipped(labelled):
    table = table_of([0] * 60 + [1] * 30 + [-1] * 10)
    strategy = SoftPositive(labelled=labelled, others="skip")
    known = table.rows[strategy.known_labels(table, 0) >= 0]
    plan = np.concatenate(epochs_of(strategy, table, 9, epochs=1))
    assert len(known) == 90 * labelled
    assert strategy.steps(table, 9) == len(known) // 9
    assert sorted(plan[:, 0]) == sorted(known)
    assert np.isin(plan[:, 1], known).all()
    assert (plan[:, 0] != plan[:, 1]).all()


def test_skipping_changes_nothing_where_all_have_a_label():
    table = table_of(UNBALANCED)
    for skipped, plain in zip(
        *(epochs_of(SoftPositive(others=others), table, 8, epochs=2) for others in ("skip", "exact")), strict=True
    ):
        np.testing.assert_array_equal(skipped, plain)


def test_as_negatives_clips_without_a_label_are_in_the_batch_and_weigh_nothing():
    table = table_of([0] * 60 + [1] * 30 + [2] + [-1] * 9)
    strategy = SoftPositive(others="negatives")
    (plan,) = plans_of(strategy, table, 100, seed=1)
    np.testing.assert_array_equal(plan, plans_of(SoftPositive(), table, 100, seed=1)[0])
    weights = strategy.weights(table, plan, seed=1, epoch=0, step=0)
    alone_or_none = np.isin(labels_at(table, plan[:, 0]), [2, -1])
    np.testing.assert_array_equal(weights, np.where(alone_or_none, 0, 1))
    assert SoftPositive().weights(table, plan, seed=1, epoch=0, step=0) is None


def test_what_others_may_do_is_one_of_three():
    with pytest.raises(ValueError, match="others of soft-positive is one of exact, negatives, skip, not 'drop'"):
        SoftPositive(others="drop")
    with pytest.raises(ValueError, match="of 4 cannot be drawn from 3 clips with a label"):
        SoftPositive(others="skip").steps(table_of([0, 0, 1, -1, -1]), 4)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_fallbacks_are_the_pairs_that_asked_for_a_partner_and_have_none(p):
    table, strategy = table_of([0] * 500 + [-1] * 250 + list(range(1, 251))), SoftPositive(p)
    (plan,) = plans_of(strategy, table, 1000, seed=3, epoch=4)
    found = strategy.fallbacks(table, plan, seed=3, epoch=4, step=0)
    alone = labels_at(table, plan[:, 0]) != 0
    assert not found[~alone].any()
    assert abs(found[alone].mean() - p) < 0.1
    assert ((plan[:, 0] != plan[:, 1])[~alone] == (p == 1)).all() or p == 0.5


# hard-negative


@over_tables
def test_a_hard_batch_has_one_label_and_only_single_clips_are_left_out(labels, batch_share, seed):
    table, batch = table_of(labels), max(2, batch_of(labels, batch_share))
    if not serves(HardNegative(), table, batch):
        assert sizes_of(labels).max(initial=0) < 2
        return
    plans = plans_of(HardNegative(), table, batch, seed)
    assert all(len(set(labels_at(table, plan[:, 0]))) == 1 for plan in plans)
    expected = [
        min(batch, size - begin)
        for size in sizes_of(labels)
        for begin in range(0, size, batch)
        if min(batch, size - begin) >= 2
    ]
    assert sorted(len(plan) for plan in plans) == sorted(expected)


def test_hard_batches_are_made_and_ordered_anew_each_epoch():
    table = table_of([0] * 12 + [1] * 12)
    epochs = [plans_of(HardNegative(), table, 4, epoch=epoch) for epoch in range(20)]
    order = {tuple(labels_at(table, np.array([plan[0, 0] for plan in plans]))) for plans in epochs}
    assert len(order) > 5
    members = [{frozenset(plan[:, 0]) for plan in plans} for plans in epochs]
    assert len(members[0] & members[1]) <= 2
    left_out = [
        set(table.rows) - set(np.concatenate(plans_of(HardNegative(), table, 11, epoch=epoch))[:, 0])
        for epoch in range(20)
    ]
    assert {len(rows) for rows in left_out} == {2}
    assert len(set().union(*left_out)) > 10


@pytest.mark.parametrize(("labels", "batch"), [(SINGLETONS, 4), (UNLABELLED, 4)])
def test_hard_negative_needs_a_label_with_two_clips(labels, batch):
    with pytest.raises(ValueError, match="no label with two clips"):
        HardNegative().steps(table_of(labels), batch)


def test_a_hard_batch_of_one_is_no_batch():
    with pytest.raises(ValueError, match="batch size of 2 or more, not 1"):
        HardNegative().steps(table_of(BALANCED), 1)


# class-balanced


def test_classes_are_equally_likely_and_so_are_the_clips_of_each():
    table = table_of([0] * 20 + [1] * 4 + [2] + [-1] * 7)
    used = np.concatenate(epochs_of(ClassBalanced(), table, 5, epochs=400))[:, 0]
    assert len(used) == 10_000
    counts = np.array([(used == row).sum() for row in table.rows])
    assert (
        chi_square(np.array([counts[:20].sum(), counts[20:24].sum(), counts[24]]), 10_000 / 3) < 27
    )  # once in a million
    assert chi_square(counts[:20], counts[:20].sum() / 20) < 70
    assert chi_square(counts[20:24], counts[20:24].sum() / 4) < 33
    assert counts[25:].sum() == 0


def test_class_balanced_epochs_are_as_long_as_the_clips_with_label_fill():
    assert ClassBalanced().steps(table_of([0] * 20 + [1] * 3 + [-1] * 9), 5) == 4
    with pytest.raises(ValueError, match="batch of 24 cannot be drawn from 23 clips with a label"):
        ClassBalanced().steps(table_of([0] * 20 + [1] * 3 + [-1] * 9), 24)


# pairs


def test_each_given_pair_comes_once_an_epoch():
    table = table_of(BALANCED)
    pairs = given_pairs(table)
    plan = np.concatenate(plans_of(pairs, table, 6))
    assert sorted(map(tuple, plan)) == sorted(zip(pairs.audio, pairs.video, strict=True))
    with pytest.raises(ValueError, match="batch of 25 cannot be drawn from 24 pairs"):
        plans_of(pairs, table, 25)


def test_weighted_pairs_come_in_proportion():
    table = table_of([0] * 6)
    pairs = Pairs(table.rows, table.rows[::-1].copy(), np.array([0.0, 1, 2, 0, 5, 0]))
    plan = np.concatenate(epochs_of(pairs, table, 4, epochs=2000))
    assert (plan.sum(axis=1) == table.rows[0] + table.rows[-1]).all()
    counts = np.array([(plan[:, 0] == row).sum() for row in table.rows])
    assert counts[[0, 3, 5]].sum() == 0
    assert chi_square(counts[[1, 2, 4]], np.array([1000, 2000, 5000])) < 27


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [np.inf, 1.0], [1e308, 1e308], [1.0]])
def test_weights_without_information(weights):
    with pytest.raises(ValueError, match=r"Weights of pairs|equal, flat shapes"):
        Pairs(np.array([1, 2]), np.array([2, 1]), np.array(weights))
