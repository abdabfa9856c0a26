"""Without --run a frozen protocol measures an untrained encoder: it was not named, and the result was thrown away."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from avtrain.cli import main
from tests.train.forge import Forged, forge_dataset

QUICK = ("--model-size", "tiny", "--device", "cpu", "--threads", "1", "--epochs", "1", "--windows-per-clip", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight clips to fit on and four to test, two classes."""
    clips = [Forged("ab"[number % 2], split) for split, count in (("train", 8), ("test", 4)) for number in range(count)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def evaluated(data, *options):
    return CliRunner().invoke(main, ["evaluate", str(data), *QUICK, *map(str, options)])


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_without_a_run_and_an_output_nothing_is_measured(data, protocol):
    done = evaluated(data, "--protocol", protocol)
    assert done.exit_code == 2
    assert "measures an untrained encoder; give --run RUN" in done.output
    assert "--out OUT" in done.output
    assert "accuracy" not in done.output


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_an_untrained_encoder_is_named_and_its_result_kept(data, protocol, tmp_path):
    done = evaluated(data, "--protocol", protocol, "--seed", "3", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "encoder: untrained, seed 3" in done.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["encoder"] == "untrained, seed 3"
    assert result["run"] is None


def test_supervised_training_records_that_it_began_from_scratch(data, tmp_path):
    done = evaluated(data, "--protocol", "supervised", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "result.json").read_text())["encoder"] == "trained from scratch, seed 0"
    assert "untrained" not in done.output


def test_the_encoder_of_a_run_is_named_by_run_and_step(data, tmp_path):
    words = ["--run", tmp_path / "run", "--batch-size", "4", "--max-steps", "1", *QUICK[:6]]
    assert CliRunner().invoke(main, ["pretrain", str(data), *map(str, words)]).exit_code == 0
    done = evaluated(data, "--protocol", "knn", "--run", tmp_path / "run")
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "run" / "eval").glob("*/result.json")
    assert json.loads(path.read_text())["encoder"] == "run run, step 1"
