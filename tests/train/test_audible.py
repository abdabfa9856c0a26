"""Scores by what can be heard: by hand, for every protocol, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avprep import schema
from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig
from avtrain.evaluation.audible import audible_classes, audible_scores
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.metrics import accuracy_interval
from avtrain.evaluation.predictions import predictions_of, read_predictions
from tests.train.forge import Forged, forge_dataset

QUICK = {"model_size": "tiny", "epochs": 2, "batch_size": 8, "windows_per_clip": 1, "learning_rate": 1e-3}
TEST = [f"c{number}" for number in range(24, 36)]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """24 training clips and 12 test clips of three classes, two test clips a group."""
    clips = [Forged("abc"[row % 3], level=-15.0 * (row % 3)) for row in range(24)]
    clips += [Forged("abc"[row % 3], "test", group=f"t{row // 2}", level=-15.0 * (row % 3)) for row in range(12)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips)


@pytest.fixture
def folder(template):
    yield template
    for path in template.glob("labels/*"):
        path.unlink()


def write_lists(folder, name, lists):
    path = folder / schema.labels_path(name)
    path.parent.mkdir(exist_ok=True)
    columns = {"clip_id": list(lists), "labels": list(lists.values())}
    pq.write_table(pa.table(columns, schema.LABEL_LISTS_SCHEMA), path)


def heard():
    """By test clip, labels that can be heard: its own in 8 of 12, another in some, none at all in two."""
    lists = {}
    for number, clip_id in enumerate(TEST):
        own, other = "abc"[number % 3], "abc"[(number + 1) % 3]
        lists[clip_id] = [[own], [own, other, "no class"], [own], [other], [own], []][number % 6]
    return lists


def test_scores_are_those_worked_out_by_hand():
    label = np.array([0, 1, 2, 0, 1, 2])
    predicted = np.array([0, 2, 2, 1, 0, 2])
    audible = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]], bool)
    groups = np.array([0, 0, 1, 1, 2, 2])
    found = predictions_of([f"c{n}" for n in range(6)], label, np.eye(3)[predicted], ["a", "b", "c"], groups)
    scores = audible_scores(audible, found)
    # own label audible: clips 0, 1, 5, of which 0 and 5 are right; some label audible: all but 4; hits: 0, 1, 3, 5
    assert (scores["clips"], scores["hit_clips"]) == (3, 5)
    assert (scores["accuracy"], scores["hit"]) == pytest.approx((2 / 3, 4 / 5))
    own = accuracy_interval(np.array([True, False, True]))  # three clusters are too few to go by
    hits = accuracy_interval(np.array([True, True, False, True, True]))
    assert (scores["interval_95"], scores["hit_interval_95"]) == (list(own[1:]), list(hits[1:]))


def test_the_column_gives_the_audible_classes(folder):
    write_lists(folder, "heard", heard())
    dataset = Dataset(folder)
    rows = dataset.rows_of("test")
    found = audible_classes(dataset, "heard", rows, dataset.labels("label"))
    for row, classes in zip(rows, found, strict=True):
        names = [name for name, audible in zip(dataset.class_names, classes, strict=True) if audible]
        assert names == sorted(set(heard()[dataset.clip_ids[row]]) - {"no class"})


@pytest.mark.parametrize("protocol", ["linear", "finetune", "supervised", "knn"])
def test_every_protocol_reports_them_and_leaves_the_accuracy_alone(folder, tmp_path, protocol):
    write_lists(folder, "heard", heard())
    without = evaluate(folder, EvaluateConfig(protocol=protocol, **QUICK))
    result = evaluate(folder, EvaluateConfig(protocol=protocol, audible="heard", **QUICK), out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    scores = result.pop("audible")
    assert result.pop("audible_digest")
    assert result.pop("config") == without.pop("config") | {"audible": "heard"}
    assert result == without
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    rows = Dataset(folder).rows_of("test")
    assert scores == {
        "column": "heard",
        **audible_scores(audible_classes(Dataset(folder), "heard", rows, Dataset(folder).labels("label")), found),
    }
    told = [heard()[clip_id] for clip_id in found.clip_ids]
    names = [("abc"[own], "abc"[said]) for own, said in zip(found.label, found.predicted, strict=True)]
    own = [own == said for (own, said), labels in zip(names, told, strict=True) if own in labels]
    hits = [said in labels for (_, said), labels in zip(names, told, strict=True) if labels]
    assert (scores["clips"], scores["accuracy"]) == (len(own), pytest.approx(np.mean(own))) == (8, scores["accuracy"])
    assert (scores["hit_clips"], scores["hit"]) == (len(hits), pytest.approx(np.mean(hits))) == (10, scores["hit"])


def called(*words):
    return CliRunner().invoke(main, ["evaluate", "--protocol=knn", "--device=cpu", "--threads=1", *map(str, words)])


def test_they_are_printed(folder, tmp_path):
    write_lists(folder, "heard", heard())
    done = called(folder, "--model-size=tiny", "--audible=heard", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "out" / "result.json").read_text())["audible"]
    assert f"audible by 'heard': accuracy {100 * scores['accuracy']:.1f} % (95 % interval " in done.output
    assert ") on the 8 of 12 test clips whose own label is;" in done.output
    assert f"among a clip's audible labels {100 * scores['hit']:.1f} % (95 % interval " in done.output
    assert "), of 10 clips with any" in done.output
    assert "audible" not in called(folder, "--model-size=tiny").output


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"c30": None},
            "has no row for 1 of 12 test clips, such as 'c30'; give those in which nothing is audible an empty list",
        ),
        ({key: ["A"] for key in TEST}, "has the own label of none of the test clips; its names must be those of the"),
        ({key: [] for key in TEST}, "such as 'a'."),
    ],
    ids=["missing", "other names", "all empty"],
)
def test_a_column_that_cannot_be_measured_by_is_one_sentence(folder, tmp_path, change, sentence):
    write_lists(folder, "heard", heard() | change)
    done = called(folder, "--model-size=tiny", "--audible=heard", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert len(done.output.splitlines()) == 1
    assert sentence in done.output
    assert not (tmp_path / "out").exists()


def test_clips_that_the_file_does_not_have_are_missing(folder):
    write_lists(
        folder, "heard", {clip_id: labels for clip_id, labels in heard().items() if clip_id not in ("c24", "c35")}
    )
    with pytest.raises(UserError, match="has no row for 2 of 12 test clips, such as 'c"):
        evaluate(folder, EvaluateConfig(audible="heard", **QUICK))


def test_no_such_column_and_no_such_protocol(folder, tmp_path):
    (tmp_path / "run").mkdir()
    done = called(folder, "--audible=heard", "--out", tmp_path / "out")
    assert (
        done.exit_code,
        "has no multi-label column 'heard'; 'avprep add-labels --multi' writes one." in done.output,
    ) == (2, True)
    done = called(folder, "--audible=heard", "--run", tmp_path / "run", "--protocol=retrieval")
    assert (done.exit_code, "leave --audible out" in done.output) == (2, True)


def test_a_column_that_has_changed_is_another_evaluation(folder, tmp_path):
    config = EvaluateConfig(protocol="knn", audible="heard", **QUICK)
    write_lists(folder, "heard", heard())
    evaluate(folder, config, out=tmp_path / "out")
    evaluate(folder, config, out=tmp_path / "out")
    write_lists(folder, "heard", heard() | {"c24": ["b"]})
    with pytest.raises(UserError, match="audible_digest: "):
        evaluate(folder, config, out=tmp_path / "out")
