"""Plans are those of tests/golden/, bit for bit, and losses to 1e-5."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.make_golden import GOLDEN, plans
from tests.train.curves import STEPS, curves


@pytest.fixture(scope="module")
def golden_and_now():
    """plans.json as it was written, and as it would be written now."""
    return json.loads((GOLDEN / "plans.json").read_text()), json.loads(json.dumps(plans()))


@pytest.mark.parametrize("part", ["first_batches", "epochs", "windows"])
def test_plans_are_the_golden_ones(golden_and_now, part):
    golden, now = golden_and_now
    assert now[part] == golden[part], f"golden was made with numpy {golden['numpy']}, this is {np.__version__}"


@pytest.mark.slow
def test_twenty_losses_of_every_strategy_and_loss_are_the_golden_ones(tmp_path):
    golden, now = json.loads((GOLDEN / "curves.json").read_text()), curves(tmp_path)
    assert now.keys() == golden["losses"].keys()
    assert {len(losses) for losses in now.values()} == {STEPS}
    for name, losses in golden["losses"].items():
        told = f"{name}: golden was made with torch {golden['torch']}, this is {torch.__version__}"
        assert now[name] == pytest.approx(losses, rel=1e-5), told
