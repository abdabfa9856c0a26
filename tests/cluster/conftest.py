"""What the tests on clusters share: a small dataset, the options of a run on two ranks, that run uninterrupted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from avtrain.runs import folder as run_folder
from tests import warm
from tests.conftest import REPOSITORY, made_once
from tests.docker.recipes import tool
from tests.train.forge import Forged, forge_dataset

DEADLINE_SECONDS = 300
STEPS = 60
SETTINGS = {"strategy": "soft-positive:p=0.5", "batch_size": 9, "epochs": 15}
OPTIONS = ["--model-size=tiny", "--threads=1", "--checkpoint-every-steps=5", "--learn-temperature"]


def environ_of_ranks() -> dict[str, str]:
    """The environment in which this source tree is what the commands run."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def pretrain_command(dataset: Path | str, run: Path | str, program: str = "") -> list[str]:
    """The command of each rank, by `program`, or by the avtrain that is installed."""
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    return [program or tool("avtrain"), "pretrain", str(dataset), f"--run={run}", "--device=cpu", *settings, *OPTIONS]


def losses(run: Path) -> list[tuple[int, float, float]]:
    """(step, loss, gradient norm) of each update: no other batches, weights or order would give the same."""
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in run_folder.read_metrics(run)]


@pytest.fixture(scope="session")
def trainable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 36 training clips in three classes."""
    clips = [Forged("abc"[row % 3]) for row in range(36)]
    return made_once(
        tmp_path_factory, "trainable", lambda folder: forge_dataset(folder, clips, frame_size=32, mel_bands=32)
    )


@pytest.fixture(scope="session")
def uninterrupted(trainable: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float, float]]:
    """The losses of two ranks that nothing stops."""

    def train(run: Path) -> None:
        launcher = [str(warm.tools() / "torchrun"), "--standalone", "--nproc-per-node=2", "--no-python", "--"]
        command = [*launcher, *pretrain_command(trainable, run, str(warm.tools() / "avtrain"))]
        done = subprocess.run(
            command, env=environ_of_ranks(), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    found = losses(made_once(tmp_path_factory, "uninterrupted", train))
    assert len(found) == STEPS
    return found
