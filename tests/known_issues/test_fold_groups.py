"""A fold is a group, of which the test split is one: its interval was [0, 1], and every comparison had p = 1."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avprep import schema
from avprep.cli import main as avprep
from avprep.dataset import Dataset
from avprep.manifest.read_write import Clip, Clips, read_manifest, write_manifest
from avtrain.cli import main as avtrain
from avtrain.evaluation.compare import compare, compare_runs, printed
from avtrain.evaluation.metrics import accuracy_interval, classification_scores, group_interval
from avtrain.evaluation.predictions import predictions_of, write_predictions
from tests.train.forge import Forged, forge_dataset


def scores(clusters, right=30):
    """Scores of 40 test clips, of which the first `right` are right."""
    truth = np.zeros(40, np.int64)
    probabilities = np.stack([np.arange(40) < right, np.arange(40) >= right], axis=1).astype(float)
    return classification_scores(probabilities, truth, 0, clusters)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_interval_by_too_few_clusters_is_not_reported(count):
    found = scores(np.arange(40) % count)
    _, low, high = accuracy_interval(np.arange(40) < 30)
    assert found["interval_95"] == [low, high]
    assert found["interval_by"] == "clips"
    assert "clips are taken as independent" in found["interval_note"]
    assert found["test_clusters"] == count


def test_an_interval_by_enough_clusters_is():
    clusters = np.arange(40) // 5
    found = scores(clusters)
    assert found["interval_95"] == list(group_interval(np.arange(40) < 30, clusters)[1:])
    assert (found["interval_by"], found["interval_note"]) == ("clusters", "")
    alone = scores(np.arange(40))
    assert (alone["interval_by"], alone["interval_note"]) == ("clips", "")


def write(path, right, clusters):
    """Predictions for 40 clips of class 0, of which the first `right` are right."""
    shares = np.stack([np.arange(40) < right, np.arange(40) >= right], axis=1).astype(float)
    ids = [f"c{row}" for row in range(40)]
    write_predictions(path, predictions_of(ids, np.zeros(40), shares, ["cat", "dog"], clusters))
    return path


def test_a_comparison_on_one_fold_goes_by_clips_with_a_note(tmp_path):
    paths = [write(tmp_path / f"{right}.parquet", right, np.zeros(40)) for right in (10, 30)]
    found = compare(*paths)
    assert found["p"] == found["mcnemar"]["exact"] < 1e-4
    assert -1 < found["difference_95"][0] < found["difference_95"][1] < 1
    assert found["unit"] == "clips"
    text = printed(compare_runs(paths))
    assert "one cluster" in text
    assert "paired bootstrap over clips" in text


def test_a_fold_is_the_group_and_a_recording_the_cluster(tmp_path):
    for name in ("1-100-A", "1-100-B", "2-200-A", "2-201-A"):
        for label in ("cat", "dog"):
            (tmp_path / "clips" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "clips" / label / f"{name}-{label}.wav").write_bytes(b"RIFF")
    words = ["manifest", "folder", "--root", tmp_path / "clips", "--fold-pattern", r"(\d)-", "--test-fold", "1"]
    plain, named = tmp_path / "plain.csv", tmp_path / "named.csv"
    for words_of_one in ([*words, "--out", plain], [*words, "--out", named, "--cluster-pattern", r"\d-(\d+)-"]):
        ran = CliRunner().invoke(avprep, list(map(str, words_of_one)))
        assert ran.exit_code == 0, ran.output
    clips = list(read_manifest(named))
    assert {(clip.group, clip.cluster) for clip in clips} == {("1", "100"), ("2", "200"), ("2", "201")}
    assert len({clip.cluster for clip in read_manifest(plain)}) == 8  # no recording named: each file is its own
    refused = CliRunner().invoke(avprep, list(map(str, [*words, "--out", plain, "--cluster-pattern", "(x)-"])))
    assert refused.exit_code == 2
    assert "--cluster-pattern" in refused.output


def test_manifests_without_clusters_keep_their_columns(tmp_path):
    clip = Clip("a", "x", "train", "a.mp4", group="g")
    for suffix in ("csv", "jsonl", "parquet"):
        write_manifest(tmp_path / f"m.{suffix}", [clip])
        assert list(read_manifest(tmp_path / f"m.{suffix}")) == [clip]
    assert "cluster" not in next(csv.reader((tmp_path / "m.csv").read_text().splitlines()))
    assert "cluster" not in json.loads((tmp_path / "m.jsonl").read_text())
    assert "cluster" not in pq.read_schema(tmp_path / "m.parquet").names
    assert Clips([clip]).table().column_names[-1] == "group"


@pytest.fixture
def folded(tmp_path):
    """A dataset of two folds; the 16 test clips come from 8 recordings."""
    clips = [Forged("ab"[row % 2], split, group=split) for split in ("train", "test") for row in range(16)]
    data = forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=32)
    with_cluster = pq.read_table(data / schema.PLAN_MANIFEST)
    rows = with_cluster.to_pylist()
    for number, row in enumerate(rows):
        row["cluster"] = f"r{number // 2}"
    write_manifest(data / schema.PLAN_MANIFEST, [Clip(**row) for row in rows])
    return data


def test_evaluate_goes_by_the_clusters(folded, tmp_path):
    dataset = Dataset(folded)
    test = dataset.rows_of("test")
    assert len(np.unique(dataset.groups[test])) == 1
    assert len(np.unique(dataset.clusters[test])) == 8
    out = tmp_path / "out"
    words = [
        "evaluate",
        folded,
        "--out",
        out,
        "--protocol=knn",
        "--model-size=tiny",
        "--device=cpu",
        "--split=released",
    ]
    ran = CliRunner().invoke(avtrain, list(map(str, words)))
    assert ran.exit_code == 0, ran.output
    found = json.loads((out / "result.json").read_text())
    assert (found["interval_by"], found["test_clusters"]) == ("clusters", 8)
    low, high = found["interval_95"]
    assert (low, high) != (0.0, 1.0)
