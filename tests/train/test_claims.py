"""An evaluation's folder is of one checkpoint: another of the same settings does not overwrite it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from click.testing import CliRunner

from avprep.shared import store
from avtrain.cli import main
from avtrain.models.two_tower import build_two_tower
from avtrain.runs import checkpoint
from tests.train.forge import Forged, forge_dataset

RESULT = "result.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("ab"[row % 2], split) for split in ("train", "test") for row in range(10)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def save(run, step, seed):
    """A checkpoint of fresh weights."""
    torch.manual_seed(seed)
    return checkpoint.save(run, step, build_two_tower("tiny", frame_size=32), None, {"config": {"model_size": "tiny"}})


@pytest.fixture
def measured(data, tmp_path):
    """measured(run, protocol) calls `avtrain evaluate` with one --out for all runs."""

    def call(run, protocol, *options):
        words = [data, "--run", tmp_path / run, "--out", tmp_path / "out", "--protocol", protocol, "--device=cpu"]
        return CliRunner().invoke(main, ["evaluate", *map(str, words), "--threads=1", *options])

    save(tmp_path / "one", 1, seed=1)
    save(tmp_path / "two", 1, seed=2)
    return call


@pytest.mark.parametrize("protocol", ["knn", "retrieval"])
def test_another_checkpoint_is_refused_with_the_difference(measured, tmp_path, protocol):
    assert measured("one", protocol).exit_code == 0
    before = (tmp_path / "out" / RESULT).read_bytes()
    identity = {"run": "one", "step": 1, "model_sha256": store.sha256(tmp_path / "one/step_00000001/model.safetensors")}
    for saved in (json.loads(before), json.loads((tmp_path / "out" / "config.json").read_text())):
        assert {name: saved[name] for name in identity} == identity
    refused = measured("two", protocol)
    assert refused.exit_code == 2
    first, *differences = refused.output.splitlines()
    assert "out holds an evaluation of other settings" in first
    assert [line.split(":")[0].strip() for line in differences] == ["model_sha256", "run"]
    assert "run: 'one' -> 'two'" in refused.output
    assert (tmp_path / "out" / RESULT).read_bytes() == before
    assert measured("one", protocol).exit_code == 0
    save(tmp_path / "one", 2, seed=3)
    later = measured("one", protocol)
    assert later.exit_code == 2
    assert "step: 1 -> 2" in later.output
    assert (tmp_path / "out" / RESULT).read_bytes() == before


def test_weights_that_were_swapped_are_refused(measured, tmp_path):
    assert measured("one", "knn").exit_code == 0
    shutil.copy(*(tmp_path / run / "step_00000001" / "model.safetensors" for run in ("two", "one")))
    refused = measured("one", "knn")
    assert refused.exit_code == 2
    assert "model_sha256: " in refused.output


def test_an_untrained_encoder_is_no_runs(data, measured, tmp_path):
    assert measured("one", "knn").exit_code == 0
    words = [str(data), "--out", str(tmp_path / "out"), "--protocol=knn", "--model-size=tiny", "--device=cpu"]
    refused = CliRunner().invoke(main, ["evaluate", *words])
    assert refused.exit_code == 2
    assert "run: 'one' -> None" in refused.output
