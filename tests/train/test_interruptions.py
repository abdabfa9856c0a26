"""One kill and one stop at a random moment; many of them and several ranks: tests/bench/resume.py."""

from __future__ import annotations

import signal

import pytest

from tests.train.forge import Forged, forge_dataset
from tests.train.interruptions import on_one_process
from tests.train.test_augmentation import OPTIONS as AUGMENTED

pytestmark = pytest.mark.slow

TUNED = ["--optimizer=adamw", "--no-decay-norms", "--projection=mlp", "--ema=0.9", "--chunk-size=3"]
"""settings whose state must come back too"""


def test_a_run_with_an_average_chunks_and_all_augmentations_ends_with_the_same_bits_after_a_kill(tmp_path):
    clips = [Forged("abc"[row % 3]) for row in range(48)]
    data = forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=32)
    (killed,) = on_one_process(data, tmp_path, [signal.SIGKILL], seed=1, more=[*TUNED, *AUGMENTED])
    assert killed.equal
    assert {path.name for path in (tmp_path / "whole").glob("step_*/*")} >= {"ema.safetensors", "optim.safetensors"}


def test_runs_that_are_stopped_at_a_random_moment_end_with_the_same_bits(tmp_path):
    clips = [Forged("abc"[row % 3]) for row in range(48)]
    data = forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=32)
    killed, asked = on_one_process(data, tmp_path, [signal.SIGKILL, signal.SIGTERM], seed=0)
    assert (killed.equal, asked.equal) == (True, True)
    assert killed.code in (-signal.SIGKILL, 0)  # 0: it was over
    assert asked.code in (75, 0)
