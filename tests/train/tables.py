"""Label tables of every kind, drawn and by hand, and what tests ask of plans over them."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avtrain.sampling import ClassBalanced, ClipTable, EasyNegative, HardNegative, Pairs, Random, SoftPositive

BALANCED, UNBALANCED, SINGLETONS = [0, 1, 2] * 8, [0] * 20 + [1] * 3 + [2], list(range(24))
UNLABELLED, MIXED, ONE_CLASS = [-1] * 24, [-1, 3] * 10 + [0, 1, 2, 2], [5] * 24
SEEDS = st.integers(0, 2**32)
LABEL_STRATEGIES = (
    Random(),
    EasyNegative(),
    HardNegative(),
    SoftPositive(1.0),
    SoftPositive(0.3),
    SoftPositive(1.0, labelled=0.5),
    ClassBalanced(),
)


def table_of(labels):
    """Rows are odd numbers in falling order, so that a row is never its position in the table."""
    return ClipTable(np.arange(len(labels), 0, -1, dtype=np.int64) * 2 + 1, np.array(labels, np.int32))


def given_pairs(table, weighted=False):
    """Each clip's sound with the next clip's picture; the weights, where there are some, are 0, 1, 2, 0, 1, 2 ..."""
    weights = np.arange(len(table), dtype=float) % 3 if weighted and len(table) > 1 else None
    return Pairs(table.rows, np.roll(table.rows, 1), weights)


def all_strategies(table):
    return (*LABEL_STRATEGIES, given_pairs(table), given_pairs(table, weighted=True))


def plans_of(strategy, table, batch_size, seed=0, epoch=0, first_step=0):
    return list(strategy.plan(table, batch_size=batch_size, seed=seed, epoch=epoch, first_step=first_step))


def epochs_of(strategy, table, batch_size, epochs, seed=0):
    """The batches of many epochs, one after the other."""
    return [plan for epoch in range(epochs) for plan in plans_of(strategy, table, batch_size, seed, epoch)]


def sizes_of(labels):
    """Clips of each label, in the order of labels."""
    return np.unique([label for label in labels if label >= 0], return_counts=True)[1]


def labels_at(table, rows):
    order = np.argsort(table.rows)
    return table.labels[order[np.searchsorted(table.rows, rows, sorter=order)]]


def serves(strategy, table, batch_size):
    """Whether the strategy can fill such batches from the table."""
    try:
        return strategy.steps(table, batch_size) > 0
    except ValueError:
        return False


def over_tables(test):
    """Run `test(labels, batch_share, seed)` over drawn tables, and over one of each kind."""
    for labels in (BALANCED, UNBALANCED, SINGLETONS, UNLABELLED, MIXED, ONE_CLASS, [0], [-1]):
        test = example(labels=labels, batch_share=0.1, seed=7)(test)
        test = example(labels=labels, batch_share=0.3, seed=7)(test)
    drawn = given(labels=st.lists(st.integers(-1, 8), min_size=1, max_size=40), batch_share=st.floats(0, 1), seed=SEEDS)
    return settings(deadline=None, max_examples=60)(drawn(test))


def batch_of(labels, share):
    return max(1, round(share * len(labels)))
