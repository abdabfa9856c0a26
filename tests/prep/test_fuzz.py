"""Damaged files cost themselves alone. Two thousand of them: tests/bench/fuzz.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from avprep.errors import REASONS
from tests.prep.fuzzing import fuzz

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 20.0
START_SECONDS = 60.0  # of a new decoder on a busy machine


def test_damaged_files_cost_themselves_alone(videos: Path, sounds: Path, tmp_path: Path):
    seeds = sorted(path for path in videos.iterdir() if path.stat().st_size > 100)
    found = fuzz(seeds, videos / "bbb_h264_aac.mp4", 60, 1, tmp_path, DEADLINE_SECONDS)
    assert found.reasons.total() == 60
    assert set(found.reasons) - {""} <= set(REASONS)
    assert len(found.reasons) >= 4, "the damages are of few kinds"
    assert found.good_clips == 6
    assert found.slowest_seconds < 2 * (DEADLINE_SECONDS + START_SECONDS)
    assert found.memory_growth_bytes < 20_000_000
