"""Pairs drawn by weight."""

from __future__ import annotations

import numpy as np
import pytest

from avtrain.sampling import Pairs
from tests.train.tables import epochs_of, table_of

DRAW = np.random.default_rng(0)
WEIGHTS = {
    "one": np.ones(1),
    "zeros at both ends": np.array([0, 0, 1, 0, 5, 2, 0]),
    "equal": np.ones(1000),
    "mild": DRAW.exponential(size=1000),
    "wild": np.exp(20 * DRAW.normal(size=1000)),
    "all but one in one bin": np.r_[1e9, np.full(3000, 1e-3)],
    "half of them zero": DRAW.random(1001) * (DRAW.random(1001) < 0.5),
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_a_pair_without_weight_is_never_drawn(weights):
    table = table_of([0] * len(weights))
    plan = np.concatenate(
        epochs_of(Pairs(table.rows, table.rows, weights.astype(float)), table, len(weights), epochs=5)
    )
    assert set(plan[:, 0]) <= set(table.rows[weights > 0])


def test_many_weighted_pairs_come_in_proportion():
    table = table_of([0] * 400)
    weights = np.random.default_rng(1).exponential(size=len(table))
    plan = np.concatenate(epochs_of(Pairs(table.rows, table.rows, weights), table, 40, epochs=500))
    counts = np.array([(plan[:, 0] == row).sum() for row in table.rows])
    due = weights / weights.sum() * len(plan)
    many = due >= 5
    counts, due = np.append(counts[many], counts[~many].sum()), np.append(due[many], due[~many].sum())
    assert ((counts - due) ** 2 / due).sum() < len(due) + 4 * np.sqrt(2 * len(due))
