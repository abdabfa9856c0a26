"""--fold-column and --fold: one fold is tested, the others are trained on, whatever the manifest's splits are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import avprep
import avtrain
from avprep.dataset import Dataset
from avprep.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.data.folds import folded
from avtrain.evaluation.measure import default_folder, measure
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

CONFIG = PretrainConfig(model_size="tiny", batch_size=4, epochs=1, val_every=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four clips of two classes and twelve groups, all of the train split, with three folds."""
    clips = [Forged("ab"[number % 2], group=f"g{number // 2}") for number in range(24)]
    folder = forge_dataset(tmp_path_factory.mktemp("folds") / "data", clips, frame_size=32, mel_bands=32)
    avprep.split_folds(folder, folds=3)
    return folder


def test_a_fold_tests_and_the_others_train(data):
    dataset, column = Dataset(data), Dataset(data).labels("folds").values
    view = folded(dataset, "folds", "1")
    assert view.rows_of("test").tolist() == np.flatnonzero(column == 1).tolist()
    assert view.rows_of("train").tolist() == np.flatnonzero(column != 1).tolist()
    assert not set(view.group_names[view.rows_of("test")]) & set(view.group_names[view.rows_of("train")])
    assert dataset.splits == ["train"]
    assert view.digest == dataset.digest
    assert folded(dataset, "", "") is dataset


def test_a_run_and_its_scores_keep_apart_what_the_fold_holds_back(data, tmp_path):
    run = tmp_path / "run"
    assert pretrain(data, run, PretrainConfig(**vars(CONFIG) | {"fold_column": "folds", "fold": "1"}), quiet=True)
    settings = {"protocol": "knn", "fold_column": "folds", "fold": "1", "windows_per_clip": 1, "test_windows": 0}
    scores, written = measure(data, run, None, settings, device="cpu")
    assert scores["seen_in_training"]["clips"] == 0
    assert (scores["test_clips"], scores["fit_clips"] + scores["validation_clips"]) == (8, 16)
    assert (scores["config"]["fold_column"], scores["config"]["fold"]) == ("folds", "1")
    assert written == str(run / "eval" / "data-knn-s0-folds-1" / "result.json")
    other, _ = measure(data, run, None, {**settings, "fold": "2"}, device="cpu")
    assert other["seen_in_training"]["clips"] == 8
    retrieved, _ = measure(
        data, run, None, {"protocol": "retrieval", "fold_column": "folds", "fold": "1"}, device="cpu"
    )
    assert retrieved["clips"] == 8
    assert retrieved["config"]["fold"] == "1"
    with pytest.raises(UserError, match="other clips or labels, which cannot change in a run"):
        pretrain(data, run, PretrainConfig(**vars(CONFIG) | {"fold_column": "folds", "fold": "2"}), quiet=True)


def test_a_plan_is_of_the_clips_that_are_trained_on(data):
    assert avtrain.plan(data, batch_size=4, epochs=1)["clips"] == 24
    assert avtrain.plan(data, batch_size=4, epochs=1, fold_column="folds", fold="0")["clips"] == 16


def test_clips_without_a_fold_are_on_neither_side(data):
    avprep.split_folds(data, "few", folds=2, split="train", by="clip")
    path = data / "labels" / "few.parquet"
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(table.slice(0, 20), path)
    view = folded(Dataset(data), "few", "0")
    assert len(view.rows_of("train")) + len(view.rows_of("test")) == 20
    assert view.splits == ["train", "test", "neither"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--fold-column", "folds"], "fold_column and fold go together"),
        (["--fold", "1"], "fold_column and fold go together"),
        (["--fold-column", "folds", "--fold", "9"], "has no fold '9'; its folds are 0, 1, 2"),
        (["--fold-column", "none", "--fold", "1"], "has no label column 'none'"),
    ],
)
def test_folds_that_are_not_there(data, words, why):
    done = CliRunner().invoke(main, ["plan", str(data), "--batch-size", "4", *words])
    assert done.exit_code == 2
    assert why in done.output


def test_results_without_folds_keep_their_folder(data):
    assert default_folder(data, Path("run"), "knn", EvaluateConfig()).name == "data-knn-s0"
    assert json.loads(json.dumps(vars(EvaluateConfig())))["fold"] == ""
