"""What all strategies promise about their plans, over all kinds of label tables."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from avtrain.sampling import (
    STRATEGIES,
    ClassBalanced,
    ClipTable,
    EasyNegative,
    HardNegative,
    Random,
    SoftPositive,
    digest,
    parse_strategy,
)
from tests.conftest import REPOSITORY
from tests.train.tables import (
    BALANCED,
    LABEL_STRATEGIES,
    all_strategies,
    batch_of,
    given_pairs,
    over_tables,
    plans_of,
    serves,
    table_of,
)


@over_tables
def test_plans_are_int64_pairs_of_table_rows_in_the_steps_foretold(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    for strategy in all_strategies(table):
        if not serves(strategy, table, batch):
            with pytest.raises(ValueError, match=r"\.$"):
                plans_of(strategy, table, batch, seed)
            continue
        plans = plans_of(strategy, table, batch, seed)
        assert len(plans) == strategy.steps(table, batch) > 0
        assert all(plan.dtype == np.int64 and plan.shape == (len(plan), 2) for plan in plans)
        assert min(len(plan) for plan in plans) == strategy.smallest_batch(table, batch)
        if not isinstance(strategy, HardNegative):
            assert {len(plan) for plan in plans} == {batch}
        assert np.isin(np.concatenate(plans), table.rows).all()


@over_tables
def test_an_anchor_comes_at_most_once_an_epoch(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    for strategy in all_strategies(table):
        with_replacement = isinstance(strategy, ClassBalanced) or getattr(strategy, "weights", None) is not None
        if serves(strategy, table, batch) and not with_replacement:
            anchors = np.concatenate(plans_of(strategy, table, batch, seed))[:, 0]
            assert len(np.unique(anchors)) == len(anchors)


@over_tables
def test_sound_and_picture_are_of_one_clip_where_no_partner_is_sought(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    for strategy in (Random(), EasyNegative(), HardNegative(), ClassBalanced()):
        if serves(strategy, table, batch):
            audio, video = np.concatenate(plans_of(strategy, table, batch, seed)).T
            assert (audio == video).all()


@over_tables
def test_clips_without_label_take_no_part_where_labels_decide_who_meets(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    unlabelled = table.rows[table.labels < 0]
    for strategy in (EasyNegative(), HardNegative(), ClassBalanced()):
        if serves(strategy, table, batch):
            assert not np.isin(np.concatenate(plans_of(strategy, table, batch, seed)), unlabelled).any()


@over_tables
def test_a_plan_from_a_later_step_is_the_tail(labels, batch_share, seed):
    table, batch = table_of(labels), batch_of(labels, batch_share)
    for strategy in all_strategies(table):
        if not serves(strategy, table, batch):
            continue
        whole = plans_of(strategy, table, batch, seed, epoch=3)
        for first in {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole)}:
            tail = plans_of(strategy, table, batch, seed, epoch=3, first_step=first)
            assert len(tail) == max(len(whole) - first, 0)
            assert all((one == other).all() for one, other in zip(tail, whole[first:], strict=True))


@pytest.mark.parametrize("strategy", all_strategies(table_of(BALANCED)), ids=repr)
def test_seed_and_epoch_decide_the_plan(strategy):
    table, batch = table_of(BALANCED), 3
    first = np.concatenate(plans_of(strategy, table, batch, seed=1, epoch=2))
    assert (np.concatenate(plans_of(strategy, table, batch, seed=1, epoch=2)) == first).all()
    for seed, epoch in ((2, 2), (1, 3), (2, 1)):
        assert (np.concatenate(plans_of(strategy, table, batch, seed=seed, epoch=epoch)) != first).any()


def test_a_fresh_process_makes_the_same_plans():
    script = (
        "import hashlib\nfrom tests.train.tables import *\ntable = table_of(MIXED * 3)\n"
        "for s in all_strategies(table):\n"
        "    text = b''.join(plan.tobytes() for plan in plans_of(s, table, 4, seed=5, epoch=6))\n"
        "    print(hashlib.sha256(text).hexdigest())"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert len(set(printed[0])) == len(all_strategies(table_of(BALANCED)))


@pytest.mark.parametrize("strategy", [Random(), SoftPositive(), ClassBalanced()], ids=repr)
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


def test_the_digest_is_of_all_that_plans_are_made_from():
    table = table_of(BALANCED)
    pairs, weighted = given_pairs(table), given_pairs(table, weighted=True)
    others = [
        digest(Random(), ClipTable(table.rows[::-1].copy(), table.labels)),
        digest(Random(), ClipTable(table.rows, table.labels[::-1].copy())),
        digest(pairs, table),
        digest(weighted, table),
        digest(type(pairs)(pairs.video, pairs.audio), table),
    ]
    assert len({digest(Random(), table), *others}) == 6
    assert digest(Random(), table) == digest(SoftPositive(), table_of(BALANCED))


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("random", Random()),
        ("easy-negative", EasyNegative()),
        ("hard-negative", HardNegative()),
        ("class-balanced", ClassBalanced()),
        ("soft-positive", SoftPositive(1.0)),
        ("soft-positive:p=0.5", SoftPositive(0.5)),
        ("soft-positive:p=0", SoftPositive(0.0)),
        ("soft-positive:labelled=0.1", SoftPositive(1.0, 0.1)),
        ("soft-positive:p=0.5,labelled=0.1", SoftPositive(0.5, 0.1)),
    ],
)
def test_a_strategy_is_named_by_text(text, strategy):
    assert parse_strategy(text) == strategy


def test_every_strategy_that_labels_serve_has_a_name():
    assert {type(strategy) for strategy in LABEL_STRATEGIES} == set(STRATEGIES.values())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no strategy ''"),
        ("soft", "no strategy 'soft'; choose from random, .*soft-positive.* pairs:FILE"),
        ("random:p=0.5", "no setting 'p'; it has none"),
        ("soft-positive:q=1", "no setting 'q'; it has labelled, others, p"),
        ("soft-positive:p", "is a number"),
        ("soft-positive:p=half", "is a number, not 'half'"),
        ("soft-positive:p=1.5", "probability"),
        ("soft-positive:p=-0.1", "probability"),
        ("soft-positive:p=nan", "probability"),
        ("soft-positive:labelled=1.5", "share"),
        ("soft-positive:labelled=nan", "share"),
    ],
)
def test_a_strategy_that_does_not_exist(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_strategy(text)
