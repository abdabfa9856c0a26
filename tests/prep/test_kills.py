"""One build through many kills; twenty of them and other ways to build: tests/bench/kills.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from avprep.build.run import build_shards
from avprep.config import Limits
from tests.prep.killing import campaign, repeated
from tests.prep.test_build import CONFIG, tree

pytestmark = pytest.mark.slow


def test_five_kills_at_random_moments_leave_no_trace(demo_clips: Path, tmp_path: Path):
    manifest = repeated(demo_clips, tmp_path / "clips.csv", 4)
    build_shards(manifest, tmp_path / "whole", CONFIG, Limits(), workers=2)
    hits = campaign(manifest, tmp_path / "killed", 5, 0, [])
    assert hits.total() == 5
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
