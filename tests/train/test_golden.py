"""Plans are those of tests/golden/, bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.make_golden import GOLDEN, plans


@pytest.fixture(scope="module")
def golden_and_now():
    """plans.json as it was written, and as it would be written now."""
    return json.loads((GOLDEN / "plans.json").read_text()), json.loads(json.dumps(plans()))


@pytest.mark.parametrize("part", ["first_batches", "epochs", "windows"])
def test_plans_are_the_golden_ones(golden_and_now, part):
    golden, now = golden_and_now
    assert now[part] == golden[part], f"golden was made with numpy {golden['numpy']}, this is {np.__version__}"
