"""One build through many kills; twenty of them and other ways to build: tests/bench/kills.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prep.killing import campaign
from tests.prep.test_build import tree

pytestmark = pytest.mark.slow


def test_five_kills_at_random_moments_leave_no_trace(demo_clips: Path, demo_dataset: Path, tmp_path: Path):
    hits = campaign(demo_clips, tmp_path / "killed", 5, 6, [])
    assert hits.total() == 5
    assert set(hits) == {"parent", "decoder"}
    assert tree(tmp_path / "killed") == tree(demo_dataset)
