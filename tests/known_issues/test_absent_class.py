"""Test clips of a class without a clip to fit on: no word of them, and finetuning predicted what it had never seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from avprep.dataset import Dataset
from avtrain.cli import main
from avtrain.config import EvaluateConfig
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.features import Source
from avtrain.evaluation.metrics import reported_interval
from avtrain.evaluation.predictions import read_predictions
from tests.train.forge import Forged, forge_dataset, write_labels

QUICK = {"model_size": "tiny", "epochs": 2, "windows_per_clip": 1, "batch_size": 8}
ABSENT = "3 of 5 test clips are of 1 class without a clip to fit on (z); no such class can be predicted"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Classes a and b to fit on; two test clips of a and three of z. The column `turned` calls z b."""
    clips = [Forged("ab"[number % 2]) for number in range(12)]
    clips += [Forged(label, "test") for label in "aazzz"]
    folder = forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)
    turned = {f"c{row}": "abz".index(clip.label) % 2 for row, clip in enumerate(clips)}
    write_labels(folder, "turned", turned, ["one", "two"])
    write_labels(folder, "part", {f"c{row}": row % 2 for row in (*range(8), 12, 13, 14)}, ["even", "odd"])
    write_labels(folder, "nothing", {}, ["x"])
    return folder


@pytest.mark.parametrize("protocol", ["linear", "knn", "supervised"])
def test_a_class_that_was_not_fitted_is_named_and_never_predicted(data, protocol, tmp_path, caplog):
    result = evaluate(data, EvaluateConfig(protocol=protocol, **QUICK), out=tmp_path / "out")
    assert ABSENT in caplog.text
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    z = found.class_names.index("z")
    assert found.probabilities[:, z].tolist() == [0] * 5
    assert sum(row[z] for row in result["confusion"]) == 0
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    known = found.label != z
    accuracy, low, high = reported_interval(found.right[known], found.clusters[known])
    assert result["unfitted"] == {
        "classes": ["z"],
        "clips": 3,
        "fitted_clips": 2,
        "fitted_accuracy": accuracy,
        "fitted_interval_95": [low, high],
    }
    assert result["accuracy"] == pytest.approx(accuracy * 2 / 5)


def test_a_head_that_is_sure_of_an_unseen_class_is_not_believed(data):
    """Finetuning from random weights may put its greatest logit there."""
    dataset = Dataset(data)
    source = Source(dataset, None, None, "cpu")
    logits = torch.tensor([[0.0, 1.0, 900.0], [2.0, 0.0, -5.0]])
    found = source.probabilities(logits, dataset.rows_of("train"))
    torch.testing.assert_close(found, torch.cat([logits[:, :2].softmax(1), torch.zeros(2, 1)], dim=1))
    every = np.arange(len(dataset))
    assert torch.equal(source.probabilities(logits, every), logits.softmax(1))  # bit for bit where all are fitted


def test_the_command_warns_and_gives_both_accuracies(data, tmp_path, caplog):
    words = ["--protocol", "knn", "--model-size", "tiny", "--windows-per-clip", "1", "--device", "cpu"]
    done = CliRunner().invoke(main, ["evaluate", str(data), *words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert ABSENT in caplog.text
    assert "without the 3 test clips of classes that were not fitted: accuracy " in done.output


def test_classes_that_are_all_fitted_are_no_news(data, tmp_path, caplog):
    result = evaluate(data, EvaluateConfig(protocol="knn", labels="turned", **QUICK))
    assert not caplog.text
    assert (result["unfitted"]["classes"], result["unfitted"]["fitted_clips"]) == ([], 5)
    assert result["unfitted"]["fitted_accuracy"] == result["accuracy"]


@pytest.mark.parametrize("protocol", ["linear", "knn", "supervised"])
def test_another_label_column_is_fitted_and_measured(data, protocol, tmp_path):
    out = tmp_path / "out"
    result = evaluate(data, EvaluateConfig(protocol=protocol, labels="part", validation_share=0.3, **QUICK), out=out)
    assert (result["fit_clips"] + result["validation_clips"], result["test_clips"]) == (8, 3)  # -1 is not used
    assert (result["class_names"], result["config"]["labels"]) == (["even", "odd"], "part")
    found = read_predictions(out / "predictions.parquet")
    assert (found.clip_ids, found.label.tolist()) == (["c12", "c13", "c14"], [0, 1, 0])
    assert json.loads((out / "config.json").read_text())["labels_digest"] == result["labels_digest"]


def test_the_column_is_in_the_default_output_and_in_the_sentence_of_an_empty_one(data, tmp_path):
    run = tmp_path / "run"
    words = ["--run", str(run), "--device", "cpu", "--threads", "1"]
    short = ["--model-size", "tiny", "--batch-size", "4", "--max-steps", "1"]
    assert CliRunner().invoke(main, ["pretrain", str(data), *words, *short]).exit_code == 0
    for protocol in ("knn", "retrieval"):
        options = ["--protocol", protocol, "--labels", "turned", "--windows-per-clip", "1"]
        done = CliRunner().invoke(main, ["evaluate", str(data), *words, *options])
        assert done.exit_code == 0, done.output
        result = json.loads((run / "eval" / f"data-{protocol}-s0-turned" / "result.json").read_text())
        assert result["config"]["labels"] == "turned"
    done = CliRunner().invoke(main, ["evaluate", str(data), *words, "--protocol", "knn", "--labels", "nothing"])
    assert done.exit_code == 2
    assert "choose another --labels" in done.output
