"""Conditions on measures: what they are true of, what they refuse, and what `avprep select` writes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import avprep
from avprep.cli import main
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.quality.table import write_quality
from avprep.quality.where import columns_of, selected
from tests.train.forge import Forged, forge_dataset

TABLE = pa.table(
    {
        "silence": pa.chunked_array([pa.array([0.0, 0.5], pa.float32()), pa.array([0.9, 1.0], pa.float32())]),
        "motion": pa.chunked_array([pa.array([0.1, None, 0.0, 0.2], pa.float32())]),
        "split": pa.chunked_array([pa.array(["train", "test", "train", "val"])]),
        "num_frames": pa.chunked_array([pa.array([10, 20, 30, 40], pa.int32())]),
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("silence < 0.9 and motion > 0.01", [0]),
        ("silence < 0.9 or motion > 0.01", [0, 1, 3]),
        ("not motion > 0.01", [2]),
        ("not (silence >= 0.5)", [0]),
        ("motion > 0.01", [0, 3]),
        ("0.2 < silence <= 1", [1, 2, 3]),
        ("0.5 == silence", [1]),
        ("motion != 0.0", [0, 3]),
        ("split == 'train'", [0, 2]),
        ('split in ("train", "val") and num_frames != 30', [0, 3]),
        ("split not in ['train']", [1, 3]),
        ("num_frames in [10, 20.0]", [0, 1]),
        ("motion not in [0.0]", [0, 3]),
        ("silence > -1", [0, 1, 2, 3]),
        (" silence >= +1 ", [3]),
        ("num_frames > silence", [0, 1, 2, 3]),
    ],
)
def test_conditions_are_true_of_rows(condition, rows):
    assert np.flatnonzero(selected(condition, TABLE).to_numpy()).tolist() == rows


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ("", "'' is no condition"),
        ("silence <", "'silence <' is no condition"),
        ("silence = 1", "is no condition at character"),
        ("silence", "'silence' is no comparison"),
        (
            "silense < 1",
            "There is no column 'silense'; there are silence, motion, split, num_frames; did you mean 'silence'?",
        ),
        ("zzz < 1", "There is no column 'zzz'; there are silence, motion, split, num_frames."),
        ("split < 1", "'split' and what it is compared with are not both numbers or both text"),
        ("silence == 'low'", "are not both numbers or both text"),
        ("split in [1]", "'split' is not compared with values of its own kind"),
        ("split in ['a', 1]", "is not compared with values of its own kind"),
        ("split in 'train'", "is no list of values, such as ['train', 'test']"),
        ("split in []", "is no list of values"),
        ("1 < 2", "'1' is compared with a value, not with a column"),
        ("silence is None", "is compared in a way that a condition does not have"),
        ("silence == None", "'None' is neither a column, a number nor a text in quotes"),
        ("silence == True", "'True' is neither a column, a number nor a text in quotes"),
        ("silence + 1 < 2", "'silence + 1' is neither a column"),
        ("silence < -'a'", "is text and has no sign"),
        ("__import__('os').system('true') < 1", "is neither a column, a number nor a text"),
        ("silence.as_py < 1", "is neither a column"),
        ("[x for x in [1]] == 1", "is neither a column"),
        ("(lambda: 1)() < 1", "is neither a column"),
        ("(" * 5000 + ")" * 5000, "is no condition"),
        ("silence < 1 " * 1000, "more than 10000 characters"),
    ],
)
def test_what_is_no_condition_is_refused_in_a_sentence(condition, sentence):
    with pytest.raises(UserError) as refused:
        selected(condition, TABLE)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_columns_of_a_condition():
    assert columns_of("motion > 1 and (silence < 0.1 or motion < 2)") == ["motion", "silence"]


@pytest.fixture
def folder(tmp_path):
    clips = [Forged("ab"[row % 2], "test" if row > 7 else "train", 1 + row / 4, pictures=row != 3) for row in range(10)]
    data = forge_dataset(tmp_path / "data", clips)
    write_quality(data)
    return data


def run(*words):
    return CliRunner().invoke(main, ["select", *map(str, words)])


def test_a_column_keeps_the_labels_of_clips_that_fit(folder, tmp_path):
    done = run(
        folder, "--where", "motion >= 0 and duration_seconds > 2", "--name", "long", "--others", tmp_path / "o.txt"
    )
    assert done.exit_code == 0, done.output
    dataset = Dataset(folder)
    fits = (dataset.duration_seconds > 2) & (dataset.num_frames > 0)
    column = dataset.labels("long")
    np.testing.assert_array_equal(column.values, np.where(fits, dataset.label, -1))
    assert column.class_names == ["a", "b"]
    assert f"{fits.sum()} clips fit, {(~fits).sum()} do not" in done.output
    origin = json.loads(pq.read_schema(folder / "labels" / "long.parquet").metadata[b"origin"])
    assert origin["where"] == "motion >= 0 and duration_seconds > 2"
    text = (tmp_path / "o.txt").read_text()
    assert text.startswith(f"# avprep select {folder}: clips that do not fit motion >= 0")
    others = [name for name, fit in zip(dataset.clip_ids, fits, strict=True) if not fit]
    assert text.splitlines()[1:] == others
    again = run(
        folder, "--where", "motion >= 0 and duration_seconds > 2", "--name", "long", "--others", tmp_path / "o.txt"
    )
    assert again.exit_code == 0, again.output
    assert len(Dataset(folder)) == 10


def test_the_list_is_what_exclude_takes(folder, tmp_path):
    selection = avprep.select(folder, "split == 'train'", others=tmp_path / "others.txt")
    assert (selection.selected, selection.others) == (8, 2)
    done = CliRunner().invoke(
        main, ["exclude", str(folder), "--ids", str(tmp_path / "others.txt"), "--reason", "quality"]
    )
    assert done.exit_code == 0, done.output
    assert Dataset(folder).splits == ["train"]


def test_a_selection_of_another_condition_is_not_overwritten(folder):
    assert run(folder, "--where", "motion > 0", "--name", "clean").exit_code == 0
    done = run(folder, "--where", "motion >= 0", "--name", "clean")
    assert done.exit_code == 2
    assert "was made otherwise; give --replace" in done.output
    assert run(folder, "--where", "motion >= 0", "--name", "clean", "--replace").exit_code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--where", "motion > 1", "--name", "x"], "fits 'motion > 1'; the columns hold motion: 0."),
        (["--where", "peak > 0.5", "--name", "x"], "the columns hold peak: no values."),
        (["--where", "split == 'val'", "--name", "x"], "the columns hold split: test, train."),
        (["--where", "motion > 0"], "There is nothing to write; give --name, --others or both"),
        (["--where", "duration_seconds > 0", "--others", "o.txt"], "Every clip of"),
        (["--where", "split == 'train' and motoin > 1", "--name", "x"], "There is no column 'motoin'"),
        (["--where", "motion > 0", "--name", "label"], "'label' cannot name a label column"),
        (["--where", "motion > 0", "--others", "o.csv"], "o.csv must end in .txt"),
        (["--where", "motion > 0", "--name", "x", "--labels", "no"], "has no label column 'no'"),
    ],
)
def test_what_selects_nothing_is_refused(folder, words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(folder, *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert done.output.count("\n") == 1 + done.output.startswith(str(folder))
    assert not (folder / "labels").exists()
