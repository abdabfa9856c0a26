"""A run or an evaluation made before a setting existed was one "of other settings" once a version had the setting."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import avtrain
from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.retrieval import retrieve
from avtrain.report.gather import read_run
from avtrain.report.kinds import kinds_of
from avtrain.runs import changes
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

CONFIG = PretrainConfig(model_size="tiny", batch_size=4, epochs=1, val_every=0)
MEASURED = EvaluateConfig(protocol="knn", model_size="tiny", windows_per_clip=1, test_windows=2)
NEWER = ("loss", "accumulate", "learn_temperature", "labels")  # at their defaults in CONFIG
MEASURED_NEWER = ("patience", "norm", "audible")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("ab"[number % 2], split) for split, count in (("train", 8), ("test", 4)) for number in range(count)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def older(path, names):
    """Take settings out of a config.json, as a version without them wrote it."""
    saved = json.loads(path.read_text())
    store.write_json(path, saved | {"config": {k: v for k, v in saved["config"].items() if k not in names}})


@pytest.fixture
def run(data, tmp_path):
    pretrain(data, tmp_path / "run", CONFIG, quiet=True)
    older(tmp_path / "run" / "config.json", NEWER)
    return tmp_path / "run"


def test_an_older_run_goes_on_without_a_change(data, run):
    assert pretrain(data, run, CONFIG, quiet=True).steps == 2
    more = PretrainConfig(**{**vars(CONFIG), "epochs": 2})
    assert pretrain(data, run, more, quiet=True).steps == 4
    assert [list(one["changed"]) for one in changes.read_changes(run)] == [["epochs"]]


def test_a_setting_that_is_not_at_its_default_is_still_a_change(data, run):
    with pytest.raises(UserError, match=r"\n  accumulate: 1 -> 2$"):
        pretrain(data, run, PretrainConfig(**{**vars(CONFIG), "accumulate": 2}), quiet=True)


def test_an_older_evaluation_is_made_again_in_its_folder(data, run, tmp_path):
    first = evaluate(data, MEASURED, run=run, out=tmp_path / "eval")
    older(tmp_path / "eval" / "config.json", MEASURED_NEWER)
    assert evaluate(data, MEASURED, run=run, out=tmp_path / "eval")["accuracy"] == first["accuracy"]
    with pytest.raises(UserError, match="norm: 'dataset' -> 'encoder'"):
        evaluate(data, EvaluateConfig(**{**vars(MEASURED), "norm": "encoder"}), run=run, out=tmp_path / "eval")
    for _ in range(2):
        retrieve(data, run, out=tmp_path / "found")


def test_an_encoder_that_the_run_does_not_have_is_refused(data, run):
    """`--model-size` beside `--run` was ignored."""
    line = ["evaluate", str(data), "--run", str(run), "--protocol", "knn", "--device", "cpu"]
    done = CliRunner().invoke(main, [*line, "--model-size", "full"])
    assert done.exit_code == 2
    assert f"{run} has an encoder of its own (model_size 'tiny'), which --model-size full cannot change" in done.output
    with pytest.raises(UserError, match=r"audio_model ''\), which --audio-model cnn9 cannot change"):
        avtrain.evaluate(data, run, protocol="knn", audio_model="cnn9")
    assert CliRunner().invoke(main, [*line, "--model-size", "tiny"]).exit_code == 0
    assert avtrain.evaluate(data, run, config=EvaluateConfig(protocol="knn"))["config"]["model_size"] == "tiny"


def test_an_older_run_is_of_the_kind_of_a_newer_one(data, run, tmp_path):
    pretrain(data, tmp_path / "new", CONFIG, quiet=True)
    assert len(kinds_of([read_run(run, "old"), read_run(tmp_path / "new", "new")], {}, folds=False)) == 1
