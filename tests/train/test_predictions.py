"""Predictions as a file that any tool reads, and what two files say of two runs."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avprep.shared.errors import UserError
from avtrain.metrics import accuracy_interval
from avtrain.predictions import compare, predictions_of, read_predictions, write_predictions
from avtrain.significance import mcnemar_of, paired_bootstrap

NAMES = ["cat", "dog, big", "\u00e9ne"]


def written(path, right, order=None, label=None, names=NAMES):
    """A file in which the clips are right as told, in an order of rows."""
    right = np.array(right)
    order = np.arange(len(right)) if order is None else np.array(order)
    label = np.arange(len(right)) % 3 if label is None else np.array(label)
    guess = np.where(right, label, (label + 1) % 3)
    probabilities = np.full((len(right), 3), 0.25) + 0.25 * np.eye(3)[guess]
    ids = [f"c{row}" for row in order]
    write_predictions(path, predictions_of(ids, label[order], probabilities[order], names))
    return path


def test_a_file_comes_back_as_it_was(tmp_path):
    path = written(tmp_path / "p.parquet", [1, 0, 1, 1])
    found = read_predictions(path)
    assert found.clip_ids == ["c0", "c1", "c2", "c3"]
    assert found.label.tolist() == [0, 1, 2, 0]
    assert found.predicted.tolist() == [0, 2, 2, 0]
    assert found.right.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(found.probabilities[1], [0.25, 0.25, 0.5])
    assert found.probabilities.dtype == np.float32
    assert found.class_names == NAMES
    assert list(tmp_path.iterdir()) == [path]


def test_other_tools_read_it(tmp_path):
    table = pq.read_table(written(tmp_path / "p.parquet", [1, 0]))
    assert table.column_names == ["clip_id", "label", "predicted", "probabilities"]
    assert table.column("probabilities").to_pylist()[0] == [0.5, 0.25, 0.25]
    assert json.loads(table.schema.metadata[b"class_names"]) == NAMES


def test_two_runs_are_compared_clip_by_clip_in_any_order(tmp_path):
    first = np.repeat([True, True, False, False], [30, 4, 15, 11])
    second = np.repeat([True, False, True, False], [30, 4, 15, 11])
    order = np.random.default_rng(0).permutation(60)
    paths = written(tmp_path / "a", first), written(tmp_path / "b", second, order)
    found = compare(*paths)
    assert found["clips"] == 60
    assert found["first"] == list(accuracy_interval(first))
    assert found["second"] == list(accuracy_interval(second))
    assert (found["difference"], *found["difference_95"]) == paired_bootstrap(first, second)
    assert found["mcnemar"]["exact"] == mcnemar_of(4, 15).exact
    assert (found["mcnemar"]["first_only"], found["mcnemar"]["second_only"]) == (4, 15)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"order": [0, 1]}, "different test clips"),
        ({"order": [0, 1, 1]}, "different test clips"),
        ({"label": [0, 1, 1]}, "other labels"),
        ({"names": ["cat", "dog", "ant"]}, "other labels"),
    ],
)
def test_runs_on_different_clips_are_not_compared(tmp_path, change, sentence):
    first, second = written(tmp_path / "a", [1, 1, 0]), written(tmp_path / "b", [1, 1, 0], **change)
    for pair in ((first, second), (second, first)):
        with pytest.raises(UserError, match=sentence):
            compare(*pair)


def test_a_clip_that_stands_twice_is_not_compared(tmp_path):
    twice = written(tmp_path / "b", [1, 1, 0], order=[0, 1, 1])
    with pytest.raises(UserError, match="different test clips"):
        compare(written(tmp_path / "a", [1, 1]), twice)


def test_other_files_hold_no_predictions(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_predictions(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    pq.write_table(pa.table({"clip_id": ["a"]}), tmp_path / "other.parquet")
    table = pq.read_table(written(tmp_path / "p.parquet", [1]))
    pq.write_table(table.drop_columns(["probabilities"]), tmp_path / "less.parquet")
    pq.write_table(table.replace_schema_metadata({b"class_names": b'["a"]'}), tmp_path / "names.parquet")
    for name in ("text", "other", "less", "names"):
        with pytest.raises(UserError, match=f"{name}.parquet holds no predictions"):
            read_predictions(tmp_path / f"{name}.parquet")
