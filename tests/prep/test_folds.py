"""avprep split and relabel: folds that no group is divided by and growth does not move, classes by other names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import avprep
from avprep.cli import main
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.labels.folds import balanced
from avprep.verify.dataset import Findings, _check_labels
from tests.train.forge import Forged, forge_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve clips: dog, cat and car, four each, of six groups of two clips; six have several labels."""
    labels = ["dog", "cat", "car"] * 4
    clips = [
        Forged(label, "train" if number < 9 else "test", group=f"g{number // 2}", labels=several)
        for number, (label, several) in enumerate(zip(labels, [f"{one};loud" for one in labels], strict=True))
    ]
    return forge_dataset(tmp_path / "data", clips)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def groups_of(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Names and labels of the clips of `count` groups of 1 to 6 clips of 1 or 2 of 5 classes."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 7, count)
    names = np.repeat([f"g{number}" for number in range(count)], sizes)
    first, second = draw.integers(0, 5, (2, count))
    return names, np.where(draw.random(len(names)) < 0.8, np.repeat(first, sizes), np.repeat(second, sizes))


def test_no_group_is_divided_and_classes_are_balanced():
    names, labels = groups_of(400, 0)
    folds = balanced(names, labels, 5, 0, {})
    assert all(len(set(folds[names == name])) == 1 for name in set(names))
    for one in range(5):
        shares = np.bincount(folds[labels == one], minlength=5) / np.count_nonzero(labels == one)
        assert np.abs(shares - 0.2).max() < 0.02
    assert not np.array_equal(folds, balanced(names, labels, 5, 1, {}))
    order = np.random.default_rng(1).permutation(len(names))
    assert np.array_equal(balanced(names[order], labels[order], 5, 0, {}), folds[order])


def test_groups_that_come_move_none_that_was_there():
    names, labels = groups_of(300, 2)
    old = np.flatnonzero([int(name[1:]) < 200 for name in names])
    before = balanced(names[old], labels[old], 4, 0, {})
    kept = dict(zip(names[old].tolist(), before.tolist(), strict=True))
    after = balanced(names, labels, 4, 0, kept)
    assert np.array_equal(after[old], before)
    shares = np.bincount(after, minlength=4) / len(after)
    assert np.abs(shares - 0.25).max() < 0.02


def test_the_command_writes_a_column_and_repeats_itself(data):
    done = run("split", data, "--folds", "3")
    assert done.stdout.endswith("labels/folds.parquet: 3 folds of 4, 4, 4 clips\n"), done.output
    dataset = Dataset(data)
    column = dataset.labels("folds")
    assert column.class_names == ["0", "1", "2"]
    assert all(len(set(column.values[dataset.group_names == name])) == 1 for name in set(dataset.group_names))
    written = (data / "labels" / "folds.parquet").read_bytes()
    assert run("split", data, "--folds", "3").exit_code == 0
    assert run("split", data, "--folds", "3", "--replace").stdout.endswith("12 clips keep the fold that they had\n")
    assert (data / "labels" / "folds.parquet").read_bytes() == written
    one = run("split", data, "--folds", "2", "--by", "clip", "--split", "train", "--name", "two")
    assert one.stdout.endswith("2 folds of 5, 4 clips\n"), one.output
    values = Dataset(data).labels("two").values
    assert (values < 0).tolist() == (Dataset(data).split == Dataset(data).splits.index("test")).tolist()
    findings = Findings()
    _check_labels(data, findings)
    assert findings.problems == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--folds", "7"], "has clips of 6 groups, too few for 7 folds"),
        (["--folds", "3", "--labels", "none"], "has no label column 'none'"),
        (["--folds", "3", "--split", "val"], "has no split 'val'"),
        (["--folds", "3", "--name", "label"], "'label' cannot name a label column"),
        (["--folds", "1"], "1 is not in the range x>=2"),
    ],
)
def test_folds_that_cannot_be(data, words, why):
    done = run("split", data, *words)
    assert done.exit_code == 2
    assert why in done.output


def test_other_folds_do_not_replace_a_column_unasked(data):
    assert run("split", data, "--folds", "3").exit_code == 0
    done = run("split", data, "--folds", "2")
    assert done.exit_code == 2
    assert "was made otherwise; give --replace or another --name. Differences:\n  folds: 3 -> 2" in done.output


def test_classes_are_renamed_merged_and_dropped(data, tmp_path):
    (tmp_path / "map.csv").write_text("from,to\ndog,pet\ncat,pet\ncar,\n")
    done = run("relabel", data, "--map", tmp_path / "map.csv", "--name", "pets")
    assert done.exit_code == 0, done.output
    assert "labels/pets.parquet: 8 clips of 1 classes, 4 without a label" in done.output
    assert "3 classes of label became 1; 4 clips lost their labels" in done.output
    dataset = Dataset(data)
    column = dataset.labels("pets")
    assert column.class_names == ["pet"]
    car = dataset.class_names.index("car")
    assert (column.values < 0).tolist() == (dataset.label == car).tolist()
    (tmp_path / "one.jsonl").write_text('{"from": "dog", "to": "hound"}\n')
    avprep.relabel(data, tmp_path / "one.jsonl", "hounds")
    assert Dataset(data).labels("hounds").class_names == ["car", "cat", "hound"]


def test_several_labels_are_renamed_too(data, tmp_path):
    (tmp_path / "map.csv").write_text("from,to\nloud,\ncat,pet\ndog,pet\ncar,\n")
    done = run("relabel", data, "--map", tmp_path / "map.csv", "--name", "pets", "--labels", "labels")
    assert "4 classes of labels became 1; 4 clips lost their labels" in done.output
    lists = Dataset(data).label_lists("pets")
    assert sorted(map(str, lists)) == ["['pet']"] * 8 + ["[]"] * 4


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("from,to\ndogs,pet\n", "'label' has no class 'dogs'; is it 'dog'?"),
        ("from,to\ndog,pet\ndog,hound\n", "class 'dog' is there twice"),
        ("from,to\ndog,\ncat,\ncar,\n", "drops every class of 'label'"),
        ("old,new\ndog,pet\n", "has no column from"),
        ("from,to\n", "has no rows"),
    ],
)
def test_a_table_that_cannot_be_used(data, tmp_path, table, why):
    (tmp_path / "map.csv").write_text(table)
    done = run("relabel", data, "--map", tmp_path / "map.csv", "--name", "pets")
    assert done.exit_code == 2
    assert why in done.output
    assert not (data / "labels" / "pets.parquet").exists()


def test_a_column_is_not_relabelled_into_itself(data, tmp_path):
    (tmp_path / "map.csv").write_text("from,to\ndog,pet\n")
    with pytest.raises(UserError, match="'labels' is the column to relabel itself"):
        avprep.relabel(data, tmp_path / "map.csv", "labels", labels="labels")
