"""Scores of several labels a clip against scikit-learn and published definitions; evaluations, comparisons, pages."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import stats
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, roc_auc_score

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig
from avtrain.evaluation.compare import compare, compare_predictions
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.multi_label import (
    d_prime,
    label_precision_sums,
    lwlrap_of,
    mean_average_precision_of,
    multi_label_scores,
    weighted,
)
from avtrain.evaluation.multi_predictions import MultiPredictions, read_any_predictions
from avtrain.evaluation.objective import objective_of
from avtrain.report import write_report
from tests.train.forge import Forged, forge_dataset, write_label_lists

QUICK = {"model_size": "tiny", "epochs": 3, "batch_size": 8, "windows_per_clip": 1, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 clips to train, 12 to test; loudness says which of a, b a clip has; c is only in test; one is not known."""
    clips = [Forged("x", "test" if row >= 24 else "train", level=-20.0 * (row % 4)) for row in range(36)]
    folder = forge_dataset(tmp_path_factory.mktemp("several") / "data", clips)
    by_level = [["a"], ["a", "b"], ["b"], []]
    lists = {f"c{row}": by_level[row % 4] for row in range(36)}
    lists |= {"c24": ["a", "c"], "c27": None, "c0": ["a", "d"]}
    write_label_lists(folder, "several", lists)
    return folder


def drawn(clips: int = 80, classes: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities with ties, labels) whose last class no clip has and whose first has all of a few."""
    draw = np.random.default_rng(seed)
    truth = draw.random((clips, classes)) < np.linspace(0.6, 0.05, classes)
    truth[:, -1] = False
    truth[:3] = False  # clips without any label
    probabilities = np.round(0.4 * truth + 0.6 * draw.random(truth.shape), 1)
    return probabilities, truth


def test_scores_are_those_of_scikit_learn():
    probabilities, truth = drawn()
    found, some = multi_label_scores(probabilities, truth), truth[:, :-1]
    own = probabilities[:, :-1]
    macro, micro = found["macro"], found["micro"]
    assert macro["average_precision"]["value"] == average_precision_score(some, own, average="macro")
    assert macro["auc"]["value"] == pytest.approx(roc_auc_score(some, own, average="macro"), abs=1e-15)
    assert micro["average_precision"]["value"] == average_precision_score(truth, probabilities, average="micro")
    assert micro["auc"]["value"] == roc_auc_score(truth.ravel(), probabilities.ravel())
    weights = truth.sum(axis=1)
    lwlrap = label_ranking_average_precision_score(truth, probabilities, sample_weight=weights)
    assert found["lwlrap"]["value"] == lwlrap
    assert found["per_class"][-1] == {"clips": 0, "average_precision": None, "auc": None, "d_prime": None}
    first = found["per_class"][0]
    assert first["clips"] == truth[:, 0].sum()
    assert first["average_precision"] == average_precision_score(truth[:, 0], probabilities[:, 0])
    assert found["mean_average_precision"] == macro["average_precision"]["value"]
    for entry in (*macro.values(), *micro.values(), found["lwlrap"]):
        assert entry["interval_95"][0] < entry["value"] < entry["interval_95"][1]
    json.dumps(found, allow_nan=False)


def test_lwlrap_is_the_published_one():
    """As DCASE 2019 task 2 defines it: for each label of each clip, the share of labels among those ranked so high."""
    draw = np.random.default_rng(1)
    truth, scores = draw.random((40, 7)) < 0.3, draw.random((40, 7))
    precisions = []
    for own, row in zip(truth, scores, strict=True):
        ranking = np.argsort(-row)
        hits = own[ranking]
        precisions += [hits[: place + 1].sum() / (place + 1) for place in np.flatnonzero(hits)]
    assert lwlrap_of(scores, truth) == pytest.approx(np.mean(precisions), abs=1e-12)
    assert label_precision_sums(scores, truth).sum() == pytest.approx(np.sum(precisions), abs=1e-12)


def test_d_prime_is_the_distance_of_two_normal_distributions_of_that_area():
    """Hits and false alarms of unit normals d' apart have the area P(X > Y) = Phi(d' / sqrt 2)."""
    for distance in (0.5, 1.0, 2.5):
        area = float(stats.norm.sf(0, loc=distance, scale=np.sqrt(2)))
        assert d_prime(area) == pytest.approx(distance, abs=1e-12)
    assert (d_prime(0.5), d_prime(1.0), d_prime(0.0), d_prime(None)) == (0.0, None, None, None)


@pytest.mark.parametrize("seed", [0, 1])
def test_weighted_scores_are_those_of_scikit_learn_for_each_weighting(seed):
    probabilities, truth = drawn(60, seed=seed)
    weights = np.random.default_rng(seed).integers(0, 3, (4, 60)).astype(np.float32)
    for scores, positive in zip(probabilities.T[:-1], truth.T, strict=False):
        precisions, areas = weighted(scores, positive, weights)
        for own, precision, area in zip(weights, precisions, areas, strict=True):
            assert precision == pytest.approx(average_precision_score(positive, scores, sample_weight=own), abs=1e-12)
            assert area == pytest.approx(roc_auc_score(positive, scores, sample_weight=own), abs=1e-12)
    clip = np.repeat(np.arange(60), truth.shape[1])
    micro, _ = weighted(probabilities.ravel(), truth.ravel(), weights, clip)
    for own, precision in zip(weights, micro, strict=True):
        wanted = average_precision_score(truth.ravel(), probabilities.ravel(), sample_weight=own[clip])
        assert precision == pytest.approx(wanted, abs=1e-12)


def test_intervals_go_by_whole_clusters_where_clips_share_them():
    probabilities, truth = drawn(200)
    again = np.repeat(probabilities, 5, axis=0), np.repeat(truth, 5, axis=0)
    clusters = np.repeat(np.arange(200), 5)
    alone, grouped = multi_label_scores(probabilities, truth), multi_label_scores(*again, 0, clusters)
    width = [high - low for low, high in (alone["interval_95"], grouped["interval_95"])]
    assert grouped["interval_by"] == "clusters"
    assert width[1] == pytest.approx(width[0], rel=0.15)
    assert np.diff(multi_label_scores(*again)["interval_95"])[0] < 0.6 * width[1]


@pytest.mark.parametrize(
    ("protocol", "settings"),
    [("linear", {}), ("linear", {"balance": "weights"}), ("linear", {"balance": "sampling"}), ("supervised", {})],
)
def test_every_protocol_fits_sigmoids(folder, tmp_path, protocol, settings):
    config = EvaluateConfig(protocol=protocol, labels="several", **{**QUICK, **settings})
    result = evaluate(folder, config, out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    assert "accuracy" not in result
    assert (result["test_clips"], result["class_names"]) == (11, ["a", "b", "c", "d"])  # c27 is not known
    assert result["unfitted"]["classes"] == ["c"]
    found = read_any_predictions(tmp_path / "out" / "predictions.parquet")
    assert isinstance(found, MultiPredictions)
    assert found.truth.sum(axis=0).tolist() == [6, 6, 1, 0]
    assert not found.probabilities[:, 2].any()  # a class that was not fitted
    assert found.probabilities.sum(axis=1).max() > 1.0  # not shares of one
    assert result["mean_average_precision"] == mean_average_precision_of(found.probabilities, found.truth)
    fitted = [0, 1, 3]
    assert result["unfitted"]["fitted_mean_average_precision"] == mean_average_precision_of(
        found.probabilities[:, fitted], found.truth[:, fitted]
    )
    assert result["windows"]["macro"]["average_precision"]["value"] > 0.3


def test_class_weights_and_balanced_orders_are_what_they_are_said_to_be(folder):
    dataset = Dataset(folder)
    rows, column = dataset.rows_of("train"), dataset.labels("several")
    weights = objective_of(column, rows, "cpu", "weights", folder).weights
    assert weights.tolist() == pytest.approx([(24 - 12) / 12, (24 - 12) / 12, 1.0, 23 / 1])
    logits, truth = torch.zeros(2, 4), torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0]])
    weighted_loss = objective_of(column, rows, "cpu", "weights", folder).losses(logits, truth)
    assert weighted_loss.tolist() == pytest.approx([np.log(2) * (1 + 1 + 1 + 23) / 4, np.log(2)])
    balanced = objective_of(column, rows, "cpu", "sampling", folder)
    order = np.concatenate([balanced.order(rows, np.random.default_rng(seed)) for seed in range(200)])
    assert np.mean(order == 0) == pytest.approx(1 / 3 + 1 / 36, abs=0.02)  # the only clip of d, one of twelve of a
    one = objective_of(dataset.labels("label"), rows, "cpu", "weights", folder)
    assert one.weights.tolist() == [1.0]


def test_a_better_run_is_shown_to_be_so_on_the_same_resampled_clips(folder, tmp_path):
    probabilities, truth = drawn(300)
    names, ids, clusters = list("abcdef"), [f"c{row}" for row in range(300)], np.arange(300)
    worse = MultiPredictions(ids, truth, probabilities, names, clusters)
    better = MultiPredictions(ids[::-1], truth[::-1], (probabilities + 0.3 * truth)[::-1], names, clusters)
    found = compare_predictions(worse, better, "worse", "better")
    assert found["score"] == "mean_average_precision"
    assert found["first"][0] == mean_average_precision_of(probabilities, truth)
    assert found["difference"] == pytest.approx(found["second"][0] - found["first"][0])
    assert found["difference_95"][0] > 0
    assert found["p"] < 0.005
    same = compare_predictions(worse, worse, "worse", "worse")
    assert (same["difference"], same["p"]) == (0.0, 1.0)
    other = MultiPredictions(ids, ~truth, probabilities, names, clusters)
    with pytest.raises(UserError, match="give the same clips other labels"):
        compare_predictions(worse, other, "worse", "other")


def test_command_comparison_and_report_speak_of_map(folder, tmp_path):
    words = ["evaluate", str(folder), "--labels", "several", "--model-size", "tiny", "--windows-per-clip", "1"]
    outs = [tmp_path / "one", tmp_path / "two"]
    for out, epochs in zip(outs, ("1", "20"), strict=True):
        done = CliRunner().invoke(main, [*words, "--epochs", epochs, "--device", "cpu", "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert "linear mAP " in done.output
        assert "lwlrap " in done.output
        assert "accuracy" not in done.output
    done = CliRunner().invoke(main, ["compare", *map(str, outs)])
    assert done.exit_code == 0, done.output
    assert "mAP " in done.output
    assert "paired bootstrap" in done.output
    assert compare(outs[0] / "predictions.parquet", outs[1] / "predictions.parquet")["clips"] == 11
    page = tmp_path / "page.html"
    write_report(outs, page)
    text = page.read_text()
    assert "mAP, %" in text
    assert "a mean average precision of" in text or "reach a mean average precision" in text
    assert "Mean average precision over a kind" in text


def test_what_needs_one_label_a_clip_refuses_lists(folder):
    for settings, what in (
        ({"protocol": "knn"}, "Protocol knn"),
        ({"audible": "several"}, "A score of audible labels"),
    ):
        with pytest.raises(UserError, match=f"{what} needs one label a clip, and the column 'several' holds lists"):
            evaluate(folder, EvaluateConfig(labels="several", **{**QUICK, **settings}))
    with pytest.raises(UserError, match="balance must be one of none, weights, sampling"):
        EvaluateConfig(balance="some")
    with pytest.raises(UserError, match="Protocol knn fits nothing that balance could change"):
        EvaluateConfig(balance="weights", protocol="knn")
    write_label_lists(folder, "empty", {f"c{row}": [] for row in range(36)})
    with pytest.raises(UserError, match=r"No clip of .* to fit on has a label in this column"):
        evaluate(folder, EvaluateConfig(labels="empty", **QUICK))


def test_the_plan_counts_labels_in_common(folder):
    words = ["plan", str(folder), "--labels", "several", "--strategy", "soft-positive:rare=1", "--batch-size", "8"]
    done = CliRunner().invoke(main, [*words, "--epochs", "20", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["labels"]["per_clip"] == pytest.approx((12 + 12 + 1) / 18)
    assert {row["name"]: row["clips"] for row in found["labels"]["clips"]} == {"a": 12, "b": 12, "d": 1}
    assert found["labels"]["clips_without"] == 6
    # of [a], [a, b], [b], [] alike: a has 11 others of 12 clips with a label in common ... 16 ordered pairs in 6
    assert found["several_labels"]["common_label_negatives_per_anchor"] == pytest.approx(7 * 7 / 16, abs=0.6)
    assert 0.5 < found["several_labels"]["soft_pairs_overlap"] < 1
    text = CliRunner().invoke(main, [*words, "--epochs", "1"]).output
    assert "1.39 labels for each clip that has one" in text
    assert "negatives have a label of the sound's clip; soft pairs share" in text
