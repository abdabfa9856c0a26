"""Predictions as a file that any tool reads."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avprep.shared.errors import UserError
from avtrain.evaluation.predictions import predictions_of, read_predictions, write_predictions

NAMES = ["cat", "dog, big", "\u00e9ne"]


def written(path, right, order=None, label=None, names=NAMES, groups=None):
    """A file in which the clips are right as told, in an order of rows; `groups` by clip."""
    right = np.array(right)
    order = np.arange(len(right)) if order is None else np.array(order)
    label = np.arange(len(right)) % 3 if label is None else np.array(label)
    guess = np.where(right, label, (label + 1) % 3)
    probabilities = np.full((len(right), 3), 0.25) + 0.25 * np.eye(3)[guess]
    ids = [f"c{row}" for row in order]
    groups = None if groups is None else np.array(groups)[order]
    write_predictions(path, predictions_of(ids, label[order], probabilities[order], names, groups))
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
    assert found.clusters.tolist() == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == [path]


def test_groups_come_back_and_a_file_without_them_has_each_clip_as_its_own(tmp_path):
    path = written(tmp_path / "p.parquet", [1, 0, 1], order=[2, 0, 1], groups=[7, 7, 9])
    assert read_predictions(path).clusters.tolist() == [9, 7, 7]
    pq.write_table(pq.read_table(path).drop_columns(["cluster"]), tmp_path / "older.parquet")
    assert read_predictions(tmp_path / "older.parquet").clusters.tolist() == [0, 1, 2]


def test_other_tools_read_it(tmp_path):
    table = pq.read_table(written(tmp_path / "p.parquet", [1, 0]))
    assert table.column_names == ["clip_id", "label", "predicted", "probabilities", "cluster"]
    assert table.column("probabilities").to_pylist()[0] == [0.5, 0.25, 0.25]
    assert json.loads(table.schema.metadata[b"class_names"]) == NAMES


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
