"""Opening a dataset imported pandas where it is installed: 0.2 s and 45 MB of each command, for nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from avprep.shared.arrow import integers, numbers_of
from tests.train.forge import Forged, forge_dataset

OPEN = """
import sys
from avprep.dataset import Dataset
dataset = Dataset(sys.argv[1])
dataset.ids_of(dataset.rows_of("train")), dataset.groups, dataset.duration_seconds
assert "pandas" not in sys.modules
"""


def test_opening_a_dataset_takes_no_pandas(tmp_path):
    pytest.importorskip("pandas")
    folder = forge_dataset(tmp_path / "data", [Forged("a"), Forged("b")])
    done = subprocess.run([sys.executable, "-c", OPEN, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_numbers_and_columns_are_the_same():
    for kind in ("int32", "int64", "float64"):
        values = np.arange(5).astype(kind)
        pieces = pa.chunked_array([pa.array(values[:2]), pa.array(values[2:])])
        for column in (pieces, pa.array(values), pieces.slice(1, 3)):
            np.testing.assert_array_equal(numbers_of(column), column.to_numpy())
    empty = pa.chunked_array([], pa.int64())
    assert numbers_of(empty).shape == (0,)
    rows = np.array([3, 1], np.int32)
    assert integers(rows).equals(pa.array([3, 1], pa.int64()))
    assert integers(rows[::-1]).to_pylist() == [1, 3]
