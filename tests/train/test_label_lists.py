"""Strategies over any number of labels a clip: what a draw promises, by brute force over small tables."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avtrain.sampling import (
    ClassBalanced,
    ClipTable,
    EasyNegative,
    HardNegative,
    LabelLists,
    Random,
    SoftPositive,
    Strategy,
    digest,
)
from avtrain.sampling.groups import Groups


def table_of(lists: list[list[int]]) -> ClipTable:
    """A table whose row numbers are 3 i + 1, so that rows and positions cannot be taken for each other."""
    begins = np.append(0, np.cumsum([len(own) for own in lists])).astype(np.int64)
    listed = LabelLists(begins, np.array([label for own in lists for label in own], np.int32))
    return ClipTable(3 * np.arange(len(lists)) + 1, listed.first(), listed)


def lists_of(rows: np.ndarray, lists: list[list[int]]) -> list[set[int]]:
    return [set(lists[(row - 1) // 3]) for row in rows]


SMALL = st.lists(st.lists(st.integers(0, 5), max_size=3, unique=True), min_size=2, max_size=24)


@settings(max_examples=60, deadline=None)
@given(SMALL, st.integers(0, 3), st.sampled_from([0.0, 0.4, 1.0]))
def test_a_soft_partner_is_another_clip_with_one_of_the_labels_wherever_there_is_one(lists, seed, rare):
    table = table_of(lists)
    counts = Counter(label for own in lists for label in own)
    plans = list(SoftPositive(rare=rare).plan(table, batch_size=2, seed=seed, epoch=1))
    assert len(plans) == len(lists) // 2
    for audio, video in np.concatenate(plans):
        (own,), (other,) = lists_of([audio], lists), lists_of([video], lists)
        if any(counts[label] > 1 for label in own):
            assert audio != video
            assert own & other
        else:
            assert audio == video


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=2, max_size=30), st.integers(0, 2))
def test_lists_of_one_label_have_the_same_groups_as_labels(labels, seed):
    lists = table_of([[label] if label >= 0 else [] for label in labels])
    one = ClipTable(lists.rows, np.array(labels, np.int32))
    assert np.array_equal(lists.labels, one.labels)
    for name in ("order", "begins", "sizes", "labels"):
        assert np.array_equal(getattr(lists.groups, name), getattr(one.groups, name)), name
    for strategy in (Random(), ClassBalanced(), EasyNegative(), HardNegative()):
        try:
            wanted = list(strategy.plan(one, batch_size=2, seed=seed, epoch=0))
        except ValueError as error:
            with pytest.raises(ValueError, match=str(error)[:40].replace("(", "\\(")):
                list(strategy.plan(lists, batch_size=2, seed=seed, epoch=0))
            continue
        found = list(strategy.plan(lists, batch_size=2, seed=seed, epoch=0))
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)), strategy


def test_labels_are_drawn_alike_or_in_inverse_proportion_to_their_clips():
    """Label 0 has 900 clips, label 1 has 100; clips of both draw either, by `rare` the rare one more."""
    lists = [[0]] * 850 + [[0, 1]] * 50 + [[1]] * 50
    table = table_of(lists)
    both = np.tile(np.arange(850, 900), 400)
    for rare, wanted in ((0.0, 0.5), (0.5, 1 / (1 + 3)), (1.0, 1 / (1 + 9))):
        drawn = Groups.of_lists(table.lists)._drawn(table.lists, both, np.random.default_rng(1), rare)
        share = np.mean(drawn < 900)  # the first 900 places are label 0's
        assert share == pytest.approx(wanted, abs=4 * np.sqrt(wanted / len(both)))


def test_each_partner_of_a_label_is_as_likely():
    table = table_of([[0, 1], [0], [0], [1], [1], [2]])
    drawn = table.groups.another(np.zeros(20_000, int), np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=6) / len(drawn)
    assert counts[[0, 5]].sum() == 0
    assert counts[1:5] == pytest.approx(0.25, abs=0.015)


@pytest.mark.parametrize("strategy", [SoftPositive(), SoftPositive(rare=1.0), SoftPositive(labelled=0.5), Random()])
def test_a_resumed_epoch_is_the_tail_of_the_whole(strategy: Strategy):
    draw = np.random.default_rng(0)
    table = table_of([draw.permutation(8)[: draw.integers(0, 4)].tolist() for _ in range(50)])
    whole = list(strategy.plan(table, batch_size=7, seed=2, epoch=3))
    again = list(strategy.plan(table, batch_size=7, seed=2, epoch=3, first_step=4))
    assert all(np.array_equal(a, b) for a, b in zip(whole[4:], again, strict=True))


def test_labels_that_are_withheld_are_a_share_of_each_and_part_of_a_larger_share():
    draw = np.random.default_rng(5)
    lists = [draw.permutation(6)[: draw.integers(0, 4)].tolist() for _ in range(200)]
    table = table_of(lists)
    counts = Counter(label for own in lists for label in own)
    kept = {share: SoftPositive(labelled=share).known_lists(table, 1) for share in (0.0, 0.1, 0.5, 1.0)}
    pairs = {share: set(zip(own.clips.tolist(), own.values.tolist(), strict=True)) for share, own in kept.items()}
    assert not pairs[0.0]
    assert pairs[0.1] < pairs[0.5] < pairs[1.0] == set(zip(table.lists.clips, table.lists.values, strict=True))
    for label, count in counts.items():
        assert sum(own == label for _, own in pairs[0.1]) == max(2, round(0.1 * count))
    few = SoftPositive(labelled=0.1)
    with pytest.raises(ValueError, match="others=skip with labelled below 1 needs one label a clip"):
        SoftPositive(labelled=0.1, others="skip").steps(table, 1)
    known = few.known_table(table, 1)
    assert np.array_equal(known.labels, kept[0.1].first())
    for audio, video in np.concatenate(list(few.plan(table, batch_size=20, seed=1, epoch=0))):
        if audio != video:
            one, other = ((row - 1) // 3 for row in (audio, video))
            assert {label for clip, label in pairs[0.1] if clip == one} & {
                label for clip, label in pairs[0.1] if clip == other
            }


def test_batches_of_one_label_or_of_different_ones():
    draw = np.random.default_rng(3)
    lists = [draw.permutation(12)[: draw.integers(1, 4)].tolist() for _ in range(60)]
    table = table_of(lists)
    for plan in HardNegative().plan(table, batch_size=5, seed=0, epoch=0):
        assert set.intersection(*lists_of(plan[:, 0], lists))
    steps = EasyNegative().steps(table, 6)
    used: list[int] = []
    for epoch in (0, 1):
        plans = list(EasyNegative().plan(table, batch_size=6, seed=0, epoch=epoch))
        assert len(plans) == steps
        used = np.concatenate(plans)[:, 0].tolist()
        assert len(used) == len(set(used))
    drawn = ClassBalanced().plan(table, batch_size=60, seed=0, epoch=0)
    assert all(len(own) for own in lists_of(np.concatenate(list(drawn))[:, 0], lists))


def test_balanced_draws_take_a_rare_label_as_often_as_a_frequent_one():
    table = table_of([[0]] * 90 + [[0, 1]] * 10)
    plans = [next(ClassBalanced().plan(table, batch_size=100, seed=seed, epoch=0)) for seed in range(100)]
    rare = np.mean((np.concatenate(plans)[:, 0] - 1) // 3 >= 90)
    assert rare == pytest.approx(0.5 + 0.5 * 0.1, abs=0.02)  # half for label 1, and a tenth of those for label 0


def test_the_digest_knows_the_second_label():
    one, other = table_of([[0, 1], [1]]), table_of([[0, 2], [1]])
    assert np.array_equal(one.labels, other.labels)
    assert digest(SoftPositive(), one) != digest(SoftPositive(), other)
    alone = ClipTable(one.rows, one.labels)
    assert len({digest(Random(), table) for table in (one, other, alone)}) == 3


def test_what_cannot_be_is_a_sentence():
    with pytest.raises(ValueError, match="begins must rise from 0 to 2"):
        LabelLists(np.array([0, 3, 2]), np.zeros(2, np.int32))
    with pytest.raises(ValueError, match="there are 2 rows and 1 lists"):
        ClipTable(np.arange(2), np.zeros(2, np.int32), LabelLists(np.array([0, 0]), np.zeros(0, np.int32)))
    with pytest.raises(ValueError, match=r"rare of soft-positive is 0 \(each label alike\) to 1"):
        SoftPositive(rare=2.0)
    with pytest.raises(ValueError, match="chooses among several labels a clip; this label column has one"):
        SoftPositive(rare=1.0).steps(ClipTable(np.arange(4), np.zeros(4, np.int32)), 2)
