"""clean-labels, propagate-labels and hide-labels: planted wrong and missing labels are set right, by features alone."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avprep import schema
from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import CleanConfig, PretrainConfig, PropagateConfig
from avtrain.data.plans import training_table
from avtrain.sampling import SoftPositive
from avtrain.stages.confident import confident, folds_of
from avtrain.stages.counts import counts_of
from avtrain.stages.features import standardised, unit
from avtrain.stages.nearest import nearest
from avtrain.stages.opened import known_labels, open_run
from avtrain.stages.relabel import relabelled
from avtrain.stages.verdicts import Verdict, decided, voted
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset, write_labels
from tests.train.test_encoder import save_run

CLASSES, EACH = 4, 30


def separable(seed=0, classes=CLASSES, each=EACH):
    """(features of length 1 in clusters, their true classes)."""
    draw = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes, dtype=np.int32), each)
    centres = 3 * np.eye(classes, 12)
    return unit((centres[truth] + 0.4 * draw.normal(size=(len(truth), 12))).astype(np.float32)), truth


def planted(truth, share=0.3, seed=0, classes=CLASSES):
    draw = np.random.default_rng(seed)
    given = truth.copy()
    wrong = draw.permutation(len(truth))[: round(share * len(truth))]
    given[wrong] = (given[wrong] + draw.integers(1, classes, len(wrong))) % classes
    return given


def everywhere(features, given, config, judged=None):
    judged = np.arange(len(given)) if judged is None else judged
    return relabelled(features, given, CLASSES, config, judged)


@pytest.mark.parametrize("sides", [1, 2])
def test_the_nearest_of_20000_clips_come_chunk_by_chunk(sides):
    draw = np.random.default_rng(0)
    bank = [unit(draw.normal(size=(20_000, 8)).astype(np.float32)) for _ in range(sides)]
    asked = np.r_[0:40, 19_990:20_000]
    queries = [side[asked] for side in bank]
    positions, similar = nearest(queries, bank, 7, asked, at_once=7 * 20_000)  # 7 queries a chunk
    for row, query in enumerate(asked):
        cosines = np.min([side @ side[query] for side in bank], axis=0)
        cosines[query] = -2
        np.testing.assert_array_equal(positions[row], np.argsort(-cosines, kind="stable")[:7])
        np.testing.assert_allclose(similar[row], np.sort(cosines)[::-1][:7], rtol=1e-5)
    whole, _ = nearest(queries, bank, 1, np.full(50, -1))
    np.testing.assert_array_equal(whole[:, 0], asked)  # who is not left out is nearest to itself


@pytest.mark.parametrize("config", [
    CleanConfig(neighbours=1, take=1.0),
    CleanConfig(),
    CleanConfig(temperature=0.1, balance=True),
    CleanConfig(by="cross"),
    CleanConfig(by="both"),
    CleanConfig(method="confident"),
    CleanConfig(method="confident", by="cross"),
], ids=lambda config: f"{config.by}-{config.method}-{config.neighbours}")  # fmt: skip
def test_planted_wrong_labels_are_set_right_or_aside(config):
    features, truth = separable()
    other, _ = separable(1)
    given = planted(truth)
    labels, probability = everywhere({"audio": features, "video": other}, given, config)
    kept, changed, none = (labels == given), (labels >= 0) & (labels != given), labels < 0
    wrong = given != truth
    if config.neighbours == 1:  # one neighbour, whose label is wrong three times in ten
        assert (labels[wrong] != given[wrong]).mean() > 0.9
        assert kept.mean() < 0.75
        return
    assert (labels[~none] == truth[~none]).mean() >= (1.0 if config.method == "vote" else 0.97)
    assert kept[~wrong].mean() > 0.9
    assert (~kept)[wrong].mean() > 0.9
    assert config.method == "confident" or changed[wrong].mean() > 0.25
    assert (probability[changed] >= config.take - 1e-6).all()
    assert ((probability > 0) & (probability <= 1))[~none].all()


def test_sound_and_picture_that_disagree_leave_no_label():
    features, truth = separable()
    given = np.where(np.arange(len(truth)) % EACH < 3, truth, -1).astype(np.int32)
    config = PropagateConfig(by="cross", neighbours=3)
    judged = np.flatnonzero(given < 0)
    agreed, _ = everywhere({"audio": features, "video": separable(1)[0]}, given, config, judged)
    np.testing.assert_array_equal(agreed, truth[judged])
    noise = unit(np.random.default_rng(0).normal(size=features.shape).astype(np.float32))
    mixed = np.where(truth[:, None] < 2, features, noise)
    labels, _ = everywhere({"audio": features, "video": mixed}, given, config, judged)
    assert (labels[truth[judged] < 2] >= 0).mean() > 0.9
    assert (labels[truth[judged] >= 2] >= 0).mean() < 0.3


@pytest.mark.parametrize("config", [
    PropagateConfig(neighbours=3), PropagateConfig(by="audio", neighbours=3),
    PropagateConfig(method="confident", take=0.4),
    PropagateConfig(method="confident", inverse_penalty=100.0, take=0.8),
], ids=["cross", "audio", "classifier", "weak penalty"])  # fmt: skip
def test_few_labels_go_to_their_neighbours(config):
    features, truth = separable()
    given = np.where(np.arange(len(truth)) % EACH < 4, truth, -1).astype(np.int32)
    judged = np.flatnonzero(given < 0)
    labels, probability = everywhere({"audio": features, "video": separable(1)[0]}, given, config, judged)
    assert (labels == truth[judged]).mean() > 0.9
    assert (probability[labels >= 0] >= config.take).all()


def test_another_label_takes_its_share_and_the_own_does_not():
    given = np.array([0, 0, 1, -1], np.int32)
    verdict = Verdict(np.array([1, 1, 1, 0], np.int32), np.array([7 / 10, 6 / 10, 2 / 10, 0.69]))
    labels, probability = decided(given, [verdict], 0.7)
    assert labels.tolist() == [1, -1, 1, -1]
    np.testing.assert_allclose(probability, [0.7, 0.6, 0.2, 0.69], rtol=1e-6)
    other = Verdict(np.array([1, 1, 0, 0], np.int32), np.full(4, 0.9))
    labels, probability = decided(given, [verdict, other], 0.6)
    assert labels.tolist() == [1, 1, -1, 0]
    np.testing.assert_allclose(probability, [0.7, 0.6, 0.2, 0.69], rtol=1e-6)


def test_rare_labels_are_outvoted_unless_votes_are_balanced():
    labels, similar = np.array([[0, 0, 0, 1, 1]]), np.zeros((1, 5), np.float32)
    sizes, given = np.array([90, 10]), np.array([1])
    assert voted(labels, similar, given, sizes).label.tolist() == [0]
    balanced = voted(labels, similar, given, sizes, balance=True)
    assert balanced.label.tolist() == [1]
    assert balanced.probability[0] == pytest.approx((2 / 10) / (2 / 10 + 3 / 90))


def test_of_equal_votes_the_own_label_wins_and_no_other():
    labels, similar = np.array([[0, 0, 1, 1]] * 3), np.array([[0.9, 0.1, 0.5, 0.5]] * 3, np.float32)
    given = np.array([1, 2, -1])
    verdict = voted(labels, similar, given, np.array([4, 4, 4]))
    assert verdict.label.tolist() == [1, -1, -1]
    assert verdict.probability.tolist() == [0.5] * 3
    sharp = voted(labels, similar, given, np.array([4, 4, 4]), temperature=0.05)
    assert sharp.label.tolist() == [0, 0, 0]


def test_confident_learning_goes_by_each_class_threshold():
    """By hand: thresholds are (0.9 + 0.5 + 0.4) / 3 = 0.6 and (0.8 + 0.3) / 2 = 0.55."""
    first = np.array([0.9, 0.5, 0.4, 0.2, 0.7])
    given = np.array([0, 0, 0, 1, 1])
    verdict = confident(np.stack([first, 1 - first], axis=1), given)
    assert verdict.label.tolist() == [0, 0, 1, 1, 0]  # the second is above neither threshold and keeps its label
    np.testing.assert_allclose(verdict.probability, [0.9, 0.5, 0.6, 0.8, 0.7])
    fold = folds_of(np.repeat([0, 1], [10, 3]), 5, 0)
    assert np.bincount(fold[:10]).tolist() == [2] * 5
    assert len(set(fold[10:])) == 3


def test_features_that_never_change_count_nothing():
    made = standardised(np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 8.0]], np.float32), np.array([True, True, False]))
    np.testing.assert_allclose(made, [[-1, 0], [1, 0], [7, 0]])


def test_what_became_of_labels_is_counted_and_compared():
    given, new = np.array([0, 0, 1, 1, -1, -1]), np.array([0, 1, -1, 1, 0, -1])
    counts = counts_of(given, new, ["a", "b"], "given", np.array([0, 1, 0, -1, 1, 0]))
    kinds = ("kept", "changed", "set_aside", "added", "without")
    assert [counts[kind] for kind in kinds] == [2, 1, 1, 1, 1]
    assert counts["per_class"][0] == {"class": "a", "kept": 1, "changed": 1, "set_aside": 0, "added": 0}
    assert counts["right"] == {
        "given": 1 / 3, "kept": 1.0, "changed": 1.0, "set_aside": 0.0, "added": 0.0, "new": 2 / 3,
    }  # fmt: skip


# the commands


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(dataset, run): 48 training clips of two classes that differ in loudness, 6 wrong in `noisy`; 4 test clips."""
    root = tmp_path_factory.mktemp("stages")
    clips = [Forged("ab"[row % 2], "test" if row >= 48 else "train", 1.0, level=-30.0 * (row % 2)) for row in range(52)]
    folder = forge_dataset(root / "data", clips, 12, frame_size=32, mel_bands=32)
    noisy = {f"c{row}": (row % 2) ^ (row in (0, 1, 10, 21, 30, 41)) for row in range(52)}
    write_labels(folder, "noisy", noisy, ["a", "b"])
    write_labels(folder, "few", {f"c{row}": row % 2 for row in (*range(8), 48, 49)}, ["a", "b"])
    write_labels(folder, "all-a", {f"c{row}": 0 for row in range(52)}, ["a"])
    save_run(root / "run", Dataset(folder))
    return folder, root / "run"


def call(*words):
    device = [] if words[0] == "hide-labels" else ["--device", "cpu"]
    return CliRunner().invoke(main, [*map(str, words), *device])


def test_clean_labels_writes_a_column_with_its_origin(data):
    folder, run = data
    words = ("clean-labels", folder, "--run", run, "--labels", "noisy", "--name", "clean", "--compare", "label")
    done = call(*words, "--json")
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)
    assert (counts["kept"], counts["changed"], counts["set_aside"]) == (42, 6, 0)
    assert counts["right"]["given"] == 42 / 48
    assert counts["right"]["new"] == 1.0
    dataset = Dataset(folder)
    column = dataset.labels("clean")
    np.testing.assert_array_equal(column.values, dataset.label)  # those of the test split as they were
    assert column.class_names == ["a", "b"]
    probabilities = dataset.label_probabilities("clean")
    assert (probabilities[dataset.rows_of("test")] == 1).all()
    assert (probabilities[dataset.rows_of("train")] >= 0.5).all()
    metadata = pq.read_schema(folder / schema.labels_path("clean")).metadata
    origin = json.loads(metadata[schema.LABEL_ORIGIN_KEY])
    assert {key: origin[key] for key in ("command", "run", "step", "labels", "by", "take", "method")} == {
        "command": "clean-labels", "run": "run", "step": 7, "labels": "noisy", "by": "audio", "take": 0.7,
        "method": "vote",
    }  # fmt: skip
    assert len(origin["model_sha256"]) == len(origin["labels_sha256"]) == 64
    before = (folder / schema.labels_path("clean")).read_bytes()
    again = call(*words)
    assert again.exit_code == 0, again.output
    assert "42 kept, 6 changed, 0 set aside" in again.output
    assert "given 87.5 %" in again.output
    assert call(*words, "--neighbours", "9").exit_code == 2
    assert call(*words, "--replace").exit_code == 0
    assert (folder / schema.labels_path("clean")).read_bytes() == before


def test_labels_are_cleaned_and_propagated_by_the_log_mel_without_a_run(data):
    folder, run = data
    words = ("clean-labels", folder, "--by", "log-mel", "--labels", "noisy", "--name", "early", "--compare", "label")
    done = call(*words, "--neighbours", "9", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["right"]["new"] == 1.0
    origin = json.loads(pq.read_schema(folder / schema.labels_path("early")).metadata[schema.LABEL_ORIGIN_KEY])
    assert (origin["by"], "run" in origin) == ("log-mel", False)
    options = ("--by", "log-mel", "--labels", "few", "--neighbours", "3", "--name", "early-grown", "--compare", "label")
    done = call("propagate-labels", folder, *options, "--json")
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)
    assert (counts["kept"], counts["right"]["added"]) == (8, 1.0)
    assert counts["added"] > 30
    for wrong, message in (
        ((*words, "--run", run), "leave out --run"),
        (("clean-labels", folder, "--name", "none"), "name one by --run, or choose --by log-mel"),
    ):
        refused = call(*wrong)
        assert refused.exit_code == 2
        assert message in refused.output


def test_propagate_labels_fills_what_has_none(data):
    folder, run = data
    options = ("--labels", "few", "--by", "audio", "--neighbours", "3", "--compare", "label")
    done = call("propagate-labels", folder, "--run", run, "--name", "grown", *options)
    assert done.exit_code == 0, done.output
    added = int(re.search(r"of 48 training clips 8 kept, (\d+) added, \d+ without", done.output)[1])
    assert added > 30
    assert "added 100.0 %" in done.output
    dataset = Dataset(folder)
    grown, few = (dataset.labels(name).values[dataset.rows_of("train")] for name in ("grown", "few"))
    assert (grown >= 0).sum() == 8 + added
    np.testing.assert_array_equal(grown[few >= 0], few[few >= 0])
    tests = dataset.rows_of("test")
    np.testing.assert_array_equal(dataset.labels("grown").values[tests], dataset.labels("few").values[tests])


def test_hide_labels_keeps_those_that_the_strategy_keeps(data):
    folder, _ = data
    done = call("hide-labels", folder, "--share", "0.25", "--name", "quarter", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert "12 of 48 labels of train stay" in done.output
    dataset = Dataset(folder)
    table = training_table(dataset)
    known = SoftPositive(labelled=0.25).known_labels(table, 3)
    np.testing.assert_array_equal(dataset.labels("quarter").values[table.rows], known)
    tests = dataset.rows_of("test")
    np.testing.assert_array_equal(dataset.labels("quarter").values[tests], dataset.label[tests])
    assert call("hide-labels", folder, "--share", "0.25", "--name", "quarter", "--seed", "4").exit_code == 2
    assert "--share" in call("hide-labels", folder, "--share", "0", "--name", "x").output


@pytest.mark.parametrize("val_share", [0.0, 0.2])
def test_labels_that_the_run_withheld_are_not_used(data, tmp_path, val_share):
    folder, _ = data
    config = PretrainConfig(
        model_size="tiny", batch_size=8, epochs=1, max_steps=1, strategy="soft-positive:labelled=0.25", seed=5,
        val_share=val_share, val_every=int(val_share > 0),
    )  # fmt: skip
    pretrain(folder, tmp_path / "run", config, quiet=True)
    dataset = Dataset(folder)
    opened = open_run(dataset, tmp_path / "run", CleanConfig())
    name, column = known_labels(dataset, opened)
    rows = dataset.rows_of("train")
    assert name == "label"
    assert (column.values[rows] >= 0).sum() == (12 if val_share == 0 else 13)  # 3 or so of each 12 and of those aside
    known = column.values[rows] >= 0
    assert (column.values[rows][known] == dataset.label[rows][known]).all()
    if val_share == 0:
        np.testing.assert_array_equal(
            column.values[rows], SoftPositive(labelled=0.25).known_labels(training_table(dataset), 5)
        )
    assert (known_labels(dataset, opened, "noisy")[1].values >= 0).all()
    out = ("--run", tmp_path / "run", "--name", f"of-run-{val_share}")
    done = call("propagate-labels", folder, *out, "--by", "audio", "--neighbours", "3", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kept"] == (column.values[rows] >= 0).sum()


@pytest.mark.parametrize(("words", "sentence"), [
    (["--labels", "noisy", "--name", "noisy"], "'noisy' is a column that the command reads"),
    (["--compare", "few", "--name", "few"], "'few' is a column that the command reads"),
    (["--labels", "all-a"], "have labels in 'all-a' of 1 classes"),
    (["--labels", "gone"], "no label column 'gone'"),
    (["--labels", "few", "--neighbours", "8"], "8 neighbours are more than the 7 training clips that can vote"),
    (["--take", "0"], "take is a share above 0"),
    (["--neighbours", "0"], "neighbours must be 1 or more"),
    (["--labels", "few", "--method", "confident", "--folds", "9"], "9 folds are more than the 8 clips"),
    (["--labels", "few", "--method", "confident", "--inverse-penalty", "0"], "inverse_penalty must be above 0"),
    (["--name", "label"], "'label' is a column that the command reads"),
    (["--checkpoint", "best"], "was not validated"),
])  # fmt: skip
def test_what_clean_labels_refuses(data, words, sentence):
    folder, run = data
    done = call("clean-labels", folder, "--run", run, *([] if "--name" in words else ["--name", "never"]), *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert not (folder / schema.labels_path("never")).exists()


@pytest.mark.parametrize(("words", "sentence"), [
    (["--labels", "label"], "All training clips of"),
    (["--labels", "few", "--neighbours", "7"], "No label has the 0.7 of 7 clips that --take asks for, the largest has"),
])  # fmt: skip
def test_what_propagate_labels_refuses(data, words, sentence):
    folder, run = data
    done = call("propagate-labels", folder, "--run", run, "--name", "never", *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.output


def test_a_run_of_another_dataset_and_one_of_sounds_alone_are_refused(data, tmp_path):
    _, run = data
    clips = [Forged("ab"[row % 2], seconds=1.0) for row in range(8)]
    other = forge_dataset(tmp_path / "other", clips, frame_size=32, mel_bands=32)
    with pytest.raises(UserError, match="was trained on another dataset"):
        open_run(Dataset(other), run, CleanConfig())
    config = PretrainConfig(model_size="tiny", batch_size=4, epochs=1, max_steps=1, loss="audio-supcon", val_every=0)
    pretrain(other, tmp_path / "sounds", config, quiet=True)
    for by in ("video", "cross"):
        done = call("clean-labels", other, "--run", tmp_path / "sounds", "--name", "x", "--by", by, "--neighbours", "3")
        assert "trains no video encoder" in done.output
