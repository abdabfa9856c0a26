"""What each strategy promises about its plans, over all kinds of label tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avtrain.sampling import ClipTable, Random, SoftPositive, parse_strategy

BALANCED, UNBALANCED, SINGLETONS = [0, 1, 2] * 8, [0] * 20 + [1] * 3 + [2], list(range(24))
UNLABELLED, MIXED = [-1] * 24, [-1, 3] * 10 + [0, 1, 2, 2]
SEEDS = st.integers(0, 2**32)


def table_of(labels):
    """Rows are odd numbers in falling order, so that a row is never its position in the table."""
    return ClipTable(np.arange(len(labels), 0, -1, dtype=np.int64) * 2 + 1, np.array(labels, np.int32))


def plans_of(strategy, table, batch_size, seed=0, epoch=0, first_step=0):
    return list(strategy.plan(table, batch_size=batch_size, seed=seed, epoch=epoch, first_step=first_step))


def labels_at(table, rows):
    order = np.argsort(table.rows)
    return table.labels[order[np.searchsorted(table.rows, rows, sorter=order)]]


def over_tables(test):
    """Run `test(labels, batch_share, seed)` over drawn tables, and over one of each kind."""
    for labels in (BALANCED, UNBALANCED, SINGLETONS, UNLABELLED, MIXED, [0], [-1]):
        test = example(labels=labels, batch_share=0.3, seed=7)(test)
    drawn = given(labels=st.lists(st.integers(-1, 4), min_size=1, max_size=40), batch_share=st.floats(0, 1), seed=SEEDS)
    return settings(deadline=None, max_examples=60)(drawn(test))


def batch_of(labels, share):
    return max(1, round(share * len(labels)))


@over_tables
def test_plans_are_int64_pairs_of_table_rows(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    for strategy in (Random(), SoftPositive(1.0), SoftPositive(0.3)):
        plans = plans_of(strategy, table, batch, seed)
        assert len(plans) == strategy.steps(table, batch) == len(labels) // batch
        assert all(plan.shape == (batch, 2) and plan.dtype == np.int64 for plan in plans)
        assert np.isin(np.concatenate(plans), table.rows).all()


@over_tables
def test_an_anchor_comes_at_most_once_an_epoch(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    for strategy in (Random(), SoftPositive(1.0)):
        anchors = np.concatenate(plans_of(strategy, table, batch, seed))[:, 0]
        assert len(np.unique(anchors)) == len(anchors) == len(labels) // batch * batch


@over_tables
def test_random_pairs_each_clip_with_itself(labels, batch_share, seed):
    plan = np.concatenate(plans_of(Random(), table_of(labels), batch_of(labels, batch_share), seed))
    assert (plan[:, 0] == plan[:, 1]).all()


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
def test_every_probability_has_the_same_anchors(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    plain = np.concatenate(plans_of(Random(), table, batch, seed))[:, 0]
    for p in (0.5, 1.0):
        np.testing.assert_array_equal(np.concatenate(plans_of(SoftPositive(p), table, batch, seed))[:, 0], plain)


@over_tables
def test_a_plan_from_a_later_step_is_the_tail(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    for strategy in (Random(), SoftPositive(0.5)):
        whole = plans_of(strategy, table, batch, seed, epoch=3)
        for first in range(len(whole) + 1):
            tail = plans_of(strategy, table, batch, seed, epoch=3, first_step=first)
            assert len(tail) == len(whole) - first
            assert all((one == other).all() for one, other in zip(tail, whole[first:], strict=True))


@pytest.mark.parametrize("strategy", [Random(), SoftPositive(1.0)])
def test_seed_and_epoch_decide_the_plan(strategy):
    table = table_of(BALANCED)
    first = np.concatenate(plans_of(strategy, table, 8, seed=1, epoch=2))
    assert (np.concatenate(plans_of(strategy, table, 8, seed=1, epoch=2)) == first).all()
    for seed, epoch in ((2, 2), (1, 3), (2, 1)):
        assert (np.concatenate(plans_of(strategy, table, 8, seed=seed, epoch=epoch)) != first).any()


def test_partners_are_drawn_anew_each_epoch():
    table = table_of([0] * 24)
    partner = [dict(np.concatenate(plans_of(SoftPositive(1.0), table, 8, epoch=epoch))) for epoch in range(2)]
    same = sum(partner[0][anchor] == partner[1][anchor] for anchor in table.rows)
    assert same <= 6  # by chance 24 / 23


def test_probability_one_half_replaces_about_half_of_the_pictures():
    table = table_of([0, 1] * 200)
    plan = np.concatenate([plans_of(SoftPositive(0.5), table, 100, epoch=epoch) for epoch in range(25)]).reshape(-1, 2)
    assert len(plan) == 10_000
    assert 0.48 < (plan[:, 0] != plan[:, 1]).mean() < 0.52  # four standard deviations


def test_each_classmate_is_equally_likely():
    table = table_of([1, 0, 0, 1, 0, 2, 0, 0])  # label 0 has five clips
    plan = np.concatenate([plans_of(SoftPositive(1.0), table, 8, epoch=epoch)[0] for epoch in range(2000)])
    rows = table.rows[table.labels == 0]
    counts = np.array([[(plan == (anchor, mate)).all(axis=1).sum() for mate in rows] for anchor in rows])
    off_diagonal = counts[~np.eye(5, dtype=bool)]
    assert np.trace(counts) == 0
    assert off_diagonal.sum() == 10_000
    chi_square = ((off_diagonal - 500) ** 2 / 500).sum()
    assert chi_square < 50  # 15 degrees of freedom: exceeded once in 100 000


@pytest.mark.parametrize("strategy", [Random(), SoftPositive()])
@pytest.mark.parametrize("batch_size", [0, 25])
def test_a_batch_that_the_table_cannot_fill(strategy, batch_size):
    table = table_of(BALANCED)
    with pytest.raises(ValueError, match=f"batch of {batch_size} cannot be drawn from 24 clips"):
        strategy.steps(table, batch_size)
    with pytest.raises(ValueError, match="cannot be drawn"):
        plans_of(strategy, table, batch_size)


def test_rows_and_labels_of_a_table_belong_together():
    with pytest.raises(ValueError, match="equal, flat shapes"):
        ClipTable(np.arange(3), np.zeros(2, np.int32))


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("random", Random()),
        ("soft-positive", SoftPositive(1.0)),
        ("soft-positive:p=0.5", SoftPositive(0.5)),
        ("soft-positive:p=0", SoftPositive(0.0)),
    ],
)
def test_a_strategy_is_named_by_text(text, strategy):
    assert parse_strategy(text) == strategy


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no strategy ''"),
        ("soft", "no strategy 'soft'; choose from random, soft-positive"),
        ("random:p=0.5", "no setting 'p'"),
        ("soft-positive:q=1", "no setting 'q'; it has p"),
        ("soft-positive:p", "is a number"),
        ("soft-positive:p=half", "is a number, not 'half'"),
        ("soft-positive:p=1.5", "probability"),
        ("soft-positive:p=-0.1", "probability"),
        ("soft-positive:p=nan", "probability"),
    ],
)
def test_a_strategy_that_does_not_exist(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_strategy(text)
