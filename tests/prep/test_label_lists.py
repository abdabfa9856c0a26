"""Multi-label columns: a list of names a clip, from tables of every form, as Dataset.label_lists reads it."""

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
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.labels.noise import add_noise
from tests.train.forge import Forged, forge_dataset, write_label_lists, write_labels

NAMES = ("cat", "dog", "rain, heavy")
WANTED = {"c0": ["cat"], "c1": ["cat", "rain, heavy"], "c2": [], "c3": ["dog", "no class"]}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six clips c0 to c5 of three classes, in the order of NAMES."""
    return forge_dataset(tmp_path / "data", [Forged(label) for label in NAMES * 2])


def rows_of(form: str) -> list[tuple[str, object]]:
    """The clips of WANTED as rows of (clip id, value), in lists or not."""
    if form == "a row a label":
        return [(clip_id, name) for clip_id, names in WANTED.items() for name in names or [""]]
    if form == "lists":
        return [(clip_id, names[::-1]) for clip_id, names in WANTED.items()]
    return [(clip_id, form.join(names)) for clip_id, names in WANTED.items()]


def write(path: Path, rows: list[tuple[str, object]]) -> Path:
    """Rows as a CSV, JSONL or Parquet file, by the suffix."""
    if path.suffix == ".parquet":
        ids, values = zip(*rows, strict=True)
        pq.write_table(pa.table({"clip_id": ids, "heard": values}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"clip_id": one, "heard": value}) + "\n" for one, value in rows))
    else:
        path.write_text("clip_id,heard\n" + "".join(f'{one},"{value}"\n' for one, value in rows))
    return path


@pytest.mark.parametrize(
    ("suffix", "form", "options"),
    [
        ("csv", ";", []),
        ("csv", " | ", ["--separator", "|"]),
        ("csv", "a row a label", []),
        ("jsonl", "lists", []),
        ("jsonl", "a row a label", []),
        ("parquet", "lists", []),
        ("parquet", ";", []),
    ],
)
def test_a_table_of_any_form_gives_the_same_column(folder, tmp_path, suffix, form, options):
    table = write(tmp_path / f"t.{suffix}", rows_of(form))
    done = run("add-labels", folder, table, "--name", "heard", "--column", "heard", "--multi", *options)
    assert done.exit_code == 0, done.output
    assert "heard.parquet: 3 clips with labels, 1 with none, 2 that the table does not have" in done.output
    assert "names that are no class of the dataset, 1 in all:\n  no class\n" in done.output
    dataset = Dataset(folder)
    lists = dict(zip(dataset.clip_ids, dataset.label_lists("heard"), strict=True))
    assert lists == {**WANTED, "c4": None, "c5": None}
    stored = pq.read_table(folder / "labels" / "heard.parquet")
    assert stored.schema.equals(schema.LABEL_LISTS_SCHEMA)
    assert stored.column("clip_id").to_pylist() == dataset.clip_ids


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_null_is_no_answer_and_an_empty_list_is_one(folder, tmp_path, suffix):
    rows = [("c0", None), ("c1", []), ("c2", ["dog"]), ("c2", None), ("c3", None), ("c3", ["cat"]), ("c3", ["cat"])]
    table = write(tmp_path / f"t.{suffix}", rows)
    assert run("add-labels", folder, table, "--name", "heard", "--column", "heard", "--multi").exit_code == 0
    dataset = Dataset(folder)
    found = dict(zip(dataset.clip_ids, dataset.label_lists("heard"), strict=True))
    assert found == {"c0": None, "c1": [], "c2": ["dog"], "c3": ["cat"], "c4": None, "c5": None}


def test_all_problems_of_a_table_are_named_together(folder, tmp_path):
    table = write(tmp_path / "t.jsonl", [("c0", ["cat", 1.5]), ("nobody", []), ("c1", {"cat": 1}), ("c2", [True])])
    done = run("add-labels", folder, table, "--name", "heard", "--column", "heard", "--multi")
    assert done.exit_code == 2
    for problem in (
        "line 1: label 1.5",
        "line 2: the dataset has no clip 'nobody'",
        "line 3: label is neither text nor a number: {",
        "line 4: label is neither text nor a number: True",
    ):
        assert problem in done.output
    assert not (folder / "labels").exists()


def test_a_column_is_overwritten_on_demand_alone(folder, tmp_path):
    add = ["add-labels", folder, write(tmp_path / "t.csv", rows_of(";")), "--name", "heard", "--column", "heard"]
    assert run(*add, "--multi").exit_code == 0
    column = folder / "labels" / "heard.parquet"
    before = column.read_bytes()
    assert run(*add, "--multi").exit_code == 0
    for other, difference in (("--multi --separator |", "separator: ';' -> '|'"), ("", "multi: True -> None")):
        done = run(*add, *other.split())
        assert done.exit_code == 2
        assert difference in done.output
    assert column.read_bytes() == before
    assert run(*add, "--multi", "--replace", "--separator", "|").exit_code == 0
    assert Dataset(folder).label_lists("heard")[Dataset(folder).clip_ids.index("c1")] == ["cat;rain, heavy"]


def test_clips_that_are_out_of_the_index_may_be_in_the_table(folder, tmp_path):
    exclude(folder, ["c1"], "asked for", "2024-05-01")
    table = write(tmp_path / "t.csv", rows_of(";"))
    done = run("add-labels", folder, table, "--name", "heard", "--column", "heard", "--multi")
    assert done.exit_code == 0, done.output
    assert "2 clips with labels, 1 with none, 2 that" in done.output
    assert "1 rows of" in done.output


def test_a_column_of_the_other_sort_is_one_sentence(folder, tmp_path):
    table = write(tmp_path / "t.csv", rows_of(";"))
    assert run("add-labels", folder, table, "--name", "heard", "--column", "heard", "--multi").exit_code == 0
    write_labels(folder, "single", {"c0": 0}, ["x"])
    dataset = Dataset(folder)
    with pytest.raises(UserError, match="Label noise needs one label a clip, and the column 'heard' holds lists"):
        add_noise(dataset, "noisy", share=0.5, labels="heard")
    with pytest.raises(UserError, match=r"single.parquet holds one label a clip; name a multi-label column"):
        dataset.label_lists("single")
    with pytest.raises(UserError, match="has no multi-label column 'other'; it has heard"):
        dataset.label_lists("other")


def test_a_column_that_is_none_is_an_error(folder):
    (folder / "labels").mkdir()
    table = pa.table({"clip_id": ["c0", "c0"], "labels": [["a"], []]}, schema.LABEL_LISTS_SCHEMA)
    pq.write_table(table, folder / "labels" / "twice.parquet")
    pq.write_table(pa.table({"clip_id": ["c0"], "labels": [1.5]}), folder / "labels" / "numbers.parquet")
    (folder / "labels" / "text.parquet").write_text("clip_id,labels\n")
    for name in ("twice", "numbers", "text"):
        with pytest.raises(UserError, match=f"{name}.parquet is no multi-label column"):
            Dataset(folder).label_lists(name)


def test_a_column_of_lists_is_read_as_flat_arrays(folder):
    """Whatever the order of the file's rows; a label twice counts once, an unknown list is not an empty one."""
    lists = {"c3": ["b", "a", "b"], "c0": ["a"], "c1": None, "c2": [], "gone": ["z"], "c4": ["c", "a"]}
    write_label_lists(folder, "several", lists)
    dataset = Dataset(folder)
    column = dataset.labels("several")
    names, begins, values = column.class_names, column.lists.begins, column.lists.values
    assert names == ["a", "b", "c", "z"]
    assert (begins.dtype, values.dtype, column.values.dtype) == (np.int64, np.int32, np.int32)
    for row, clip_id in enumerate(dataset.clip_ids):
        own = [names[value] for value in values[begins[row] : begins[row + 1]]]
        assert own == list(dict.fromkeys(lists.get(clip_id) or [])), clip_id
        assert column.lists.known[row] == (lists.get(clip_id) is not None), clip_id
        assert column.values[row] == (names.index(own[0]) if own else -1)
    assert np.array_equal(column.known, column.lists.known)
    assert np.array_equal(dataset.labels("label").known, dataset.label >= 0)


def test_a_column_of_lists_that_cannot_be_read_is_an_error(folder):
    (folder / "labels").mkdir()
    for name, lists in (("twice", [["a"], []]), ("nameless", [["a", None], []])):
        ids = ["c0", "c0" if name == "twice" else "c1"]
        pq.write_table(pa.table({"clip_id": ids, "labels": lists}), folder / "labels" / f"{name}.parquet")
        with pytest.raises(UserError, match=f"{name}.parquet is no label column"):
            Dataset(folder).labels(name)
