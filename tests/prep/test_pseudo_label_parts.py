"""Pseudo-labels by several processes: the bytes of one process, of pictures and of clusters."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from avprep.api.labels import pseudo_label
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.labels.pseudo_label import PseudoLabelConfig, _Work
from tests import warm
from tests.prep.test_pseudo_label import _one_thread, pictures, save_random_weights  # noqa: F401
from tests.train.forge import Forged, forge_dataset

MODEL = "shufflenet_v2_x0_5"
MAIN = "from avprep.cli import main; main()"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 13 clips, two of them without pictures, and random weights of a small network."""
    folder = tmp_path_factory.mktemp("labels")
    clips = [Forged("ab"[row % 2], seconds=0.2, pictures=row not in (3, 8)) for row in range(13)]
    forge_dataset(folder / "data", clips)
    save_random_weights(MODEL, folder / "w.safetensors")
    return folder


def labelled(data: Path, name: str, *options: object) -> bytes:
    """The column that a command writes whose processes are forked like itself."""
    words = ["pseudo-label", data, "--name", name, "--device", "cpu", *options]
    line = [*warm.python(), "-c", MAIN, *map(str, words)]
    environ = {**os.environ, warm.POOLS: "yes"}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return (data / "labels" / f"{name}.parquet").read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="classes"),
        pytest.param({"clusters": 3}, id="clusters", marks=pytest.mark.slow),
        pytest.param({"top_k": 3}, id="lists", marks=pytest.mark.slow),
    ],
)
def test_any_number_of_processes_writes_the_same_bytes(place, options):
    settings = {"model": MODEL, "weights": place / "w.safetensors", "batch_size": 2, "device": "cpu"}
    name = "-".join(options) or "one"
    wanted = pseudo_label(place / "data", name, **settings, **options).read_bytes()
    words = [
        "--model",
        MODEL,
        "--weights",
        settings["weights"],
        "--batch-size",
        2,
        "--replace",
        "--processes",
        3,
        "--threads",
        1,
    ]
    for option, value in options.items():
        words += [f"--{option.replace('_', '-')}", value]
    assert labelled(place / "data", name, *words) == wanted


def test_another_network_than_the_commands_is_refused(place):
    config = PseudoLabelConfig(model=MODEL, weights=place / "w.safetensors", device="cpu")
    dataset = Dataset(place / "data")
    about = {"model": MODEL, "weights_sha256": "other"}
    with pytest.raises(UserError, match="was changed while it was read; start again: weights_sha256: 'other' -> "):
        _Work(place / "data", dataset.digest, config, "cpu", about, None)(dataset.rows_of("train"))
