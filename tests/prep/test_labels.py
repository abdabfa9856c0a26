"""Label columns beside the index: what Dataset.labels reads, the user's own tables, label noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from avprep import schema
from avprep.build.exclude import exclude
from avprep.cli import main
from avprep.dataset import Dataset, LabelColumn
from avprep.errors import UserError
from avprep.labels.columns import labels_of_table
from avprep.labels.noise import noisy_labels
from tests.train.forge import Forged, forge_dataset

CLIPS = [Forged(label, split) for split in ("train", "test") for label in ("cat", "dog", "rain, heavy") for _ in "123"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """18 clips c0 to c17: 3 classes of 3 in train, then the same in test."""
    return forge_dataset(tmp_path / "data", CLIPS)


def write_column(folder: Path, clip_ids: list[str], labels: list[int], names: list[str] | None) -> Dataset:
    """labels/mine.parquet by pyarrow alone."""
    table = pa.table({"clip_id": clip_ids, "label": pa.array(labels, pa.int32())})
    if names is not None:
        table = table.replace_schema_metadata({"class_names": json.dumps(names)})
    (folder / "labels").mkdir()
    pq.write_table(table, folder / "labels" / "mine.parquet")
    return Dataset(folder)


def test_a_column_is_joined_by_clip_id(folder):
    ids = [f"c{number}" for number in reversed(range(18)) if number != 5]
    labels = [int(clip_id[1:]) % 4 for clip_id in ids]
    dataset = write_column(folder, ["gone", *ids], [3, *labels], ["a", "b", "c", "é"])
    column = dataset.labels("mine")
    expected = [-1 if clip_id == "c5" else int(clip_id[1:]) % 4 for clip_id in dataset.clip_ids]
    assert column.values.dtype == np.int32
    assert column.values.tolist() == expected
    assert column.class_names == ["a", "b", "c", "é"]


def test_the_columns_that_there_are(folder):
    dataset = write_column(folder, ["c0"], [0], ["x"])
    own = dataset.labels("label")
    assert [own.class_names[value] for value in own.values] == [CLIPS[int(i[1:])].label for i in dataset.clip_ids]
    with pytest.raises(UserError, match="no label column 'other'; it has label, mine"):
        dataset.labels("other")


@pytest.mark.parametrize(
    ("ids", "labels", "names"),
    [(["c0"], [0], None), (["c0", "c0"], [0, 0], ["x"]), (["c0"], [1], ["x"]), (["c0"], [-2], ["x"])],
    ids=["no names", "twice", "no such name", "below -1"],
)
def test_a_column_that_is_none_is_an_error(folder, ids, labels, names):
    with pytest.raises(UserError, match=r"mine.parquet is no label column .*'avprep add-labels' writes one"):
        write_column(folder, ids, labels, names).labels("mine")


def test_a_column_that_is_no_parquet_is_an_error(folder):
    dataset = write_column(folder, ["c0"], [0], ["x"])
    (folder / "labels" / "mine.parquet").write_text("clip_id,label\n")
    with pytest.raises(UserError, match="is no label column"):
        dataset.labels("mine")


def table_of(path: Path, rows: dict[str, object]) -> Path:
    """Clip ids and labels as a CSV, JSONL or Parquet file, by the suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"clip_id": list(rows), "kind": list(rows.values())}), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps({"clip_id": clip_id, "kind": value}) for clip_id, value in rows.items()]
        path.write_text("\n".join(lines) + "\n")
    else:
        cells = [f'{clip_id},"{"" if value is None else value}"\n' for clip_id, value in rows.items()]
        path.write_text("clip_id,kind\n" + "".join(cells))
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("values", "names"),
    [(["wind, strong", "Ärger", None], ["wind, strong", "Ärger"]), ([10, 9, -1], ["9", "10"])],
    ids=["strings", "numbers"],
)
def test_own_labels_from_a_table(folder, tmp_path, suffix, values, names):
    rows = {f"c{number}": values[number % 3] for number in range(16)}
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run("add-labels", folder, table_of(tmp_path / f"t.{suffix}", rows), "--name", "mine", "--column", "kind")
    assert done.exit_code == 0, done.output
    assert "11 clips of 2 classes, 7 without a label" in done.output
    dataset = Dataset(folder)
    column = dataset.labels("mine")
    assert column.class_names == names
    found = {i: None if value < 0 else names[value] for i, value in zip(dataset.clip_ids, column.values, strict=True)}
    expected = {f"c{n}": None if n > 15 or n % 3 == 2 else str(values[n % 3]) for n in range(18)}
    assert found == expected
    table = pq.read_table(folder / "labels" / "mine.parquet")
    assert table.schema.names == ["clip_id", "label", "class_name"]
    assert dict(zip(table["clip_id"].to_pylist(), table["class_name"].to_pylist(), strict=True)) == expected
    assert {path: path.read_bytes() for path in before} == before, "something else than the column was written"


def test_whole_numbers_that_pandas_stored_as_floats(folder, tmp_path):
    labels = labels_of_table(Dataset(folder), table_of(tmp_path / "t.parquet", {"c0": 2.0, "c1": float("nan")}), "kind")
    assert labels.column.class_names == ["2"]
    assert sorted(labels.column.values.tolist()) == [-1] * 17 + [0]


def test_all_problems_of_a_table_are_named_together(folder, tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [("c0", "a"), ("nobody", "a"), ("c0", "b"), ("c1", 1.5), ("else", "a"), ("c2", True)]
    path.write_text("".join(json.dumps({"clip_id": clip_id, "label": value}) + "\n" for clip_id, value in rows))
    done = run("add-labels", folder, path, "--name", "mine")
    assert done.exit_code == 2
    for problem in (
        "line 2: the dataset has no clip 'nobody'",
        "line 3: clip 'c0' is there twice",
        "line 4: label 1.5 is not a whole number",
        "line 5: the dataset has no clip 'else'",
        "line 6: label is neither text nor a number: True",
    ):
        assert problem in done.output
    assert not (folder / "labels").exists()


def test_clips_that_are_out_of_the_index_may_be_in_the_table(folder, tmp_path):
    exclude(folder, ["c3", "c4"], "asked for", "2024-05-01")
    done = run(
        "add-labels", folder, table_of(tmp_path / "t.csv", {"c3": "a", "c5": "b"}), "--name", "m", "--column", "kind"
    )
    assert done.exit_code == 0, done.output
    assert "1 clips of 1 classes, 15 without a label" in done.output
    assert "1 rows of" in done.output
    assert Dataset(folder).labels("m").class_names == ["b"], "a class of no clip of the index"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("t.csv", "clip_id,other\nc0,a\n", "has no column label; it has clip_id, other"),
        ("t.csv", "clip_id,label\n", "has no rows"),
        ("t.jsonl", "{", "line 1: not readable as JSON"),
        ("t.jsonl", "[1]\n", "line 1: not an object"),
        ("t.parquet", "x", "not readable as parquet"),
        ("t.txt", "c0 a\n", "ends in .csv, .jsonl or .parquet"),
    ],
)
def test_a_table_that_is_none_is_an_error(folder, tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    done = run("add-labels", folder, tmp_path / name, "--name", "mine")
    assert done.exit_code == 2
    assert sentence in done.output
    assert name in done.output


def test_a_column_is_overwritten_on_demand_alone(folder, tmp_path):
    column = folder / "labels" / "mine.parquet"
    first, second = table_of(tmp_path / "1.csv", {"c0": "a"}), table_of(tmp_path / "2.csv", {"c0": "b"})
    add = ["--name", "mine", "--column", "kind"]
    assert run("add-labels", folder, first, *add).exit_code == 0
    before = column.read_bytes()
    again = run("add-labels", folder, first, *add)
    assert (again.exit_code, column.read_bytes()) == (0, before), again.output
    other = run("add-labels", folder, second, *add)
    assert other.exit_code == 2
    assert "was made otherwise" in other.output
    assert "file_sha256" in other.output
    assert column.read_bytes() == before
    assert run("add-labels", folder, second, *add, "--replace").exit_code == 0
    assert Dataset(folder).labels("mine").class_names == ["b"]
    assert run("add-labels", folder, first, *add, "--replace").exit_code == 0
    assert column.read_bytes() == before, "the same command gives the same bytes"


def test_a_column_of_another_index_is_another_column(folder, tmp_path):
    add = ["add-labels", folder, table_of(tmp_path / "t.csv", {"c0": "a"}), "--name", "mine", "--column", "kind"]
    assert run(*add).exit_code == 0
    exclude(folder, ["c3"], "asked for", "2024-05-01")
    done = run(*add)
    assert done.exit_code == 2
    assert "index_sha256" in done.output
    assert run(*add, "--replace").exit_code == 0
    assert pq.read_table(folder / "labels" / "mine.parquet").num_rows == 17


@pytest.mark.parametrize("name", ["label", "../x", "a/b", ".x", ""])
def test_names_that_no_column_can_have(folder, tmp_path, name):
    done = run("add-labels", folder, table_of(tmp_path / "t.csv", {"c0": "a"}), "--name", name, "--column", "kind")
    assert done.exit_code == 2
    assert "cannot name a label column" in done.output


def test_noise_changes_exactly_its_share_to_other_classes_uniformly():
    draw = np.random.default_rng(1)
    classes = np.array([2, 3, 5, 8])  # 0 to 9 have names; the others do not occur in the split
    values = draw.choice(classes, 12_000).astype(np.int32)
    values[::10] = -1
    values[9_001] = 9
    column = LabelColumn(values, [str(number) for number in range(10)])
    rows = np.arange(9_000)
    noisy = noisy_labels(column, rows, 0.3, 0)
    changed = np.flatnonzero(noisy.values != values)
    assert len(changed) == round(0.3 * (values[:9_000] >= 0).sum()) == 2_430
    assert changed.max() < 9_000
    assert (values[changed] >= 0).all()
    assert noisy.class_names == column.class_names
    for label in classes:
        of_label = changed[values[changed] == label]
        assert abs(len(of_label) / (values[:9_000] == label).sum() - 0.3) < 0.05
        counts = np.bincount(noisy.values[of_label], minlength=10)[classes[classes != label]]
        assert counts.sum() == len(of_label), "a class that does not occur"
        assert abs(counts / len(of_label) - 1 / 3).max() < 0.08
    assert np.array_equal(noisy_labels(column, rows, 0.3, 0).values, noisy.values)
    assert not np.array_equal(noisy_labels(column, rows, 0.3, 1).values, noisy.values)
    assert np.array_equal(noisy_labels(column, rows, 0.0, 0).values, values)
    assert (noisy_labels(column, rows, 1.0, 0).values[:9_000] != values[:9_000]).sum() == 8_100


def test_noise_of_one_class_is_an_error():
    with pytest.raises(UserError, match="two classes or more"):
        noisy_labels(LabelColumn(np.zeros(4, np.int32), ["a"]), np.arange(4), 0.5, 0)


def test_add_noise_writes_a_column_of_the_split(folder):
    done = run("add-noise", folder, "--share", "0.5", "--name", "noisy", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert "4 clips of train have another label than in label" in done.output  # round(4.5) is 4
    dataset = Dataset(folder)
    changed = np.flatnonzero(dataset.labels("noisy").values != dataset.label)
    assert len(changed) == 4
    assert set(changed) <= set(dataset.rows_of("train"))
    origin = json.loads(pq.read_schema(folder / schema.labels_path("noisy")).metadata[schema.LABEL_ORIGIN_KEY])
    assert {key: origin[key] for key in ("command", "share", "seed", "labels", "split")} == {
        "command": "add-noise", "share": 0.5, "seed": 3, "labels": "label", "split": "train",
    }  # fmt: skip
    on_top = run("add-noise", folder, "--share", "1", "--name", "more", "--labels", "noisy", "--split", "test")
    assert on_top.exit_code == 0, on_top.output
    more = dataset.labels("more").values
    assert np.array_equal(np.flatnonzero(more != dataset.labels("noisy").values), dataset.rows_of("test"))
    assert run("add-noise", folder, "--share", "0.5", "--name", "noisy", "--seed", "4").exit_code == 2
    assert "no split 'val'" in run("add-noise", folder, "--share", "1", "--name", "x", "--split", "val").output


def test_noise_within_groups_changes_to_the_confusable_classes_alone():
    draw = np.random.default_rng(2)
    values = draw.integers(-1, 7, 8_000).astype(np.int32)
    column = LabelColumn(values, [str(number) for number in range(8)])
    rows, groups = np.arange(6_000), np.array([4, 9, 4, -1, 9, 4, 2, 2])  # 7 is alone in its group among the clips
    noisy = noisy_labels(column, rows, 0.4, 0, groups).values
    changed = np.flatnonzero(noisy != values)
    confusable = np.isin(values[rows], [0, 1, 2, 4, 5])
    assert len(changed) == round(0.4 * confusable.sum())
    assert (groups[values[changed]] == groups[noisy[changed]]).all()
    assert set(np.unique(values[changed])) == {0, 1, 2, 4, 5}
    assert np.bincount(noisy[changed][values[changed] == 0], minlength=6)[[2, 5]].min() > 100
    with pytest.raises(UserError, match="No group has two classes of the clips"):
        noisy_labels(column, rows, 0.4, 0, np.array([0, 1, 2, -1, 3, 4, 6, 6]))


def test_add_noise_takes_a_table_of_groups(folder, tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("class,group\n" + "".join(f'"{name}",all\n' for name in Dataset(folder).class_names))
    done = run("add-noise", folder, "--share", "0.5", "--name", "confused", "--within", table)
    assert done.exit_code == 0, done.output
    table.write_text("class,group\nnot-there,a\n,b\n")
    done = run("add-noise", folder, "--share", "0.5", "--name", "more", "--within", table)
    assert done.exit_code == 2
    assert "the labels have no class 'not-there'" in done.output
    assert "line 3" in done.output
    table.write_text("class,groups\na,a\n")
    assert "group" in run("add-noise", folder, "--share", "1", "--name", "x", "--within", table).output
