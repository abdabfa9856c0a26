"""Runs, checkpoints and evaluations that were written before a setting existed read as if they had its default."""

from __future__ import annotations

import json

import pytest

from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.evaluation.evaluate import evaluate
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

KNOWN = ("labels", "model_size", "batch_size", "epochs", "max_steps", "seed", "temperature", "loss")
SETTINGS = {"model_size": "tiny", "batch_size": 4, "epochs": 2, "max_steps": 2}


def forget(path, *known):
    """Take all settings but `known` out of a saved config."""
    saved = json.loads(path.read_text())
    saved["config"] = {name: saved["config"][name] for name in known}
    path.write_text(json.dumps(saved))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("ab"[row % 2], split="test" if row > 11 else "train") for row in range(16)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def test_a_run_of_before_goes_on_and_is_measured(data, tmp_path):
    run = tmp_path / "run"
    pretrain(data, run, PretrainConfig(**SETTINGS), quiet=True)
    forget(run / "config.json", *KNOWN)
    forget(run / "step_00000002" / "meta.json", *KNOWN)
    done = pretrain(data, run, PretrainConfig(**SETTINGS), quiet=True)
    assert done.steps == 2
    assert not (run / "changes.json").exists()
    with pytest.raises(UserError, match=r"(?s)other settings.*learning_rate: 0.0001 -> 0.5"):
        pretrain(data, run, PretrainConfig(**SETTINGS, learning_rate=0.5), quiet=True)
    assert pretrain(data, run, PretrainConfig(**(SETTINGS | {"max_steps": 3})), quiet=True).steps == 3

    measuring = EvaluateConfig(protocol="knn")
    scores = evaluate(data, measuring, run=run, out=tmp_path / "knn")
    forget(tmp_path / "knn" / "config.json", "protocol", "model_size", "epochs", "seed")
    assert evaluate(data, measuring, run=run, out=tmp_path / "knn") == scores
    with pytest.raises(UserError, match="windows_per_clip: 4 -> 3"):
        evaluate(data, EvaluateConfig(protocol="knn", windows_per_clip=3), run=run, out=tmp_path / "knn")


def test_only_settings_that_are_wanted_have_defaults():
    defaults = {"old": 1, "new": 2, "of_another_protocol": 3}
    assert configs.flat_with({"config": {"old": 5}}, {"config": {"old": 5, "new": 2}}, defaults) == {"old": 5, "new": 2}
