"""Label columns and files of pairs, as a user names them, become the plans of a run; mistakes are one sentence."""

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
from avtrain.config import PretrainConfig
from avtrain.data import Recipe
from avtrain.data.plans import strategy_of, training_table
from avtrain.sampling import Random, SoftPositive
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset, write_labels


@pytest.fixture
def folder(tmp_path):
    """Twelve training clips c0 .. c11 of two classes, and a test clip c12."""
    clips = [Forged("ab"[row % 2]) for row in range(12)] + [Forged("a", split="test")]
    return forge_dataset(tmp_path / "data", clips)


def pairs_file(folder, **columns):
    path = folder.parent / "pairs.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def ids_of(dataset, rows):
    return [dataset.clip_ids[row] for row in rows]


def test_labels_of_a_column_come_in_the_order_of_rows(folder):
    pseudo = {f"c{clip}": clip % 3 for clip in range(11)}
    write_labels(folder, "pseudo", pseudo, ["x", "y", "z"])
    dataset = Dataset(folder)
    table = training_table(dataset, "pseudo")
    assert table.labels.tolist() == [pseudo.get(clip_id, -1) for clip_id in ids_of(dataset, table.rows)]
    assert training_table(dataset).labels.tolist() == dataset.label[table.rows].tolist()
    assert ids_of(dataset, training_table(dataset, split="test").rows) == ["c12"]


def test_partners_go_by_the_column(folder):
    pseudo = {f"c{clip}": clip // 4 for clip in range(12)}
    write_labels(folder, "pseudo", pseudo, ["x", "y", "z"])
    dataset = Dataset(folder)
    table = training_table(dataset, "pseudo")
    (plan,) = strategy_of("soft-positive", dataset, table).plan(table, batch_size=12, seed=0, epoch=0)
    for audio, video in zip(ids_of(dataset, plan[:, 0]), ids_of(dataset, plan[:, 1]), strict=True):
        assert audio != video
        assert pseudo[audio] == pseudo[video]


def test_clips_without_picture_cannot_train(folder):
    index = pq.read_table(folder / schema.INDEX)
    silent = [clip in ("c3", "c12") for clip in index.column("clip_id").to_pylist()]
    for name, none in (("num_frames", 0), ("frames_bytes", 0), ("frames_offset", -1)):
        column = index.column(name)
        blind = pa.array(np.where(silent, none, column.to_numpy()), column.type)
        index = index.set_column(index.column_names.index(name), name, blind)
    pq.write_table(index, folder / schema.INDEX)
    with pytest.raises(UserError, match="has 1 train clips without picture, such as c3; take them out"):
        training_table(Dataset(folder))
    with pytest.raises(UserError, match="has 1 test clips without picture, such as c12"):
        training_table(Dataset(folder), split="test")


@pytest.mark.parametrize("weight", [None, [1, 2, 3]])
def test_pairs_of_a_file_are_rows_of_the_dataset(folder, weight):
    columns = {"audio": ["c3", "c7", "c3"], "video": ["c0", "c7", "c11"]} | ({"weight": weight} if weight else {})
    dataset = Dataset(folder)
    found = strategy_of(f"pairs:{pairs_file(folder, **columns)}", dataset, training_table(dataset))
    assert ids_of(dataset, found.audio) == columns["audio"]
    assert ids_of(dataset, found.video) == columns["video"]
    assert found.pair_weights is None if weight is None else found.pair_weights.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"audio": ["c0"]}, "has no column 'video'"),
        ({"audio": ["c0", "c99", "c98"], "video": ["c1"] * 3}, "names 2 clips in 'audio' .* such as 'c99'"),
        ({"audio": ["c0"], "video": ["c12"]}, "names 1 clips in 'video' that are not in the split"),
        ({"audio": ["c0"], "video": [None]}, "such as None"),
        ({"audio": ["c0"], "video": ["c1"], "weight": ["much"]}, "weights that are not numbers"),
        ({"audio": ["c0"], "video": ["c1"], "weight": [-1.0]}, "Weights of pairs must be finite"),
        ({"audio": ["c0"], "video": ["c1"], "weight": [None]}, "Weights of pairs must be finite"),
    ],
)
def test_a_file_of_pairs_with_a_mistake_is_named_with_it(folder, columns, sentence):
    dataset = Dataset(folder)
    path = pairs_file(folder, **{name: pa.array(values) for name, values in columns.items()})
    with pytest.raises(UserError, match=f"{path} .*{sentence}"):
        strategy_of(f"pairs:{path}", dataset, training_table(dataset))


def test_a_file_that_is_no_parquet(folder):
    dataset = Dataset(folder)
    for path in (folder / schema.DATASET, folder / "none.parquet", ""):
        with pytest.raises(UserError, match="cannot be read as Parquet"):
            strategy_of(f"pairs:{path}", dataset, training_table(dataset))


def test_other_names_are_those_of_sampling(folder):
    dataset = Dataset(folder)
    table = training_table(dataset)
    assert strategy_of("random", dataset, table) == Random()
    assert strategy_of("soft-positive:p=0.5", dataset, table) == SoftPositive(0.5)
    with pytest.raises(UserError, match="There is no strategy 'pairs'"):
        strategy_of("pairs", dataset, table)


@pytest.fixture
def linked_dataset(demo_dataset, tmp_path):
    """The demo dataset with a labels/ folder of its own: 48 training clips, labels as in the manifest."""
    folder = tmp_path / "data"
    folder.mkdir()
    for part in demo_dataset.iterdir():
        (folder / part.name).symlink_to(part)
    dataset = Dataset(folder)
    labels = dict(zip(dataset.clip_ids, dataset.label.tolist(), strict=True))
    write_labels(folder, "noisy", labels, dataset.class_names)
    return folder, labels, dataset.class_names


def trained(folder, run, *options):
    command = ["pretrain", folder, "--run", run, "--model-size=tiny", "--batch-size=8", "--max-steps=2", "--threads=1"]
    return CliRunner().invoke(main, [str(word) for word in (*command, *options)])


def test_a_run_by_a_label_column_is_refused_once_the_column_has_changed(linked_dataset, tmp_path):
    folder, labels, names = linked_dataset
    options = (tmp_path / "run", "--strategy=soft-positive", "--labels=noisy")
    done = trained(folder, *options)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["labels"] == "noisy"
    assert trained(folder, *options).exit_code == 0
    changed = ids_of(Dataset(folder), training_table(Dataset(folder)).rows)[0]
    write_labels(folder, "noisy", labels | {changed: len(names) - 1 - labels[changed]}, names)
    done = trained(folder, *options)
    assert done.exit_code == 2
    assert "plan_digest" in done.output


def test_a_run_of_given_pairs_reads_these(linked_dataset, tmp_path, monkeypatch):
    folder, *_ = linked_dataset
    dataset = Dataset(folder)
    train = ids_of(dataset, training_table(dataset).rows)
    path = pairs_file(folder, audio=train[:8], video=train[8:16])
    read = []
    windows = Recipe.windows
    monkeypatch.setattr(Recipe, "windows", lambda *arguments: read.append(arguments[1]) or windows(*arguments))
    config = PretrainConfig(strategy=f"pairs:{path}", model_size="tiny", batch_size=8, epochs=1)
    pretrain(folder, tmp_path / "run", config, quiet=True)
    met = {tuple(ids_of(dataset, pair)) for plan in read for pair in plan}
    assert met == set(zip(train[:8], train[8:16], strict=True))


def test_a_label_column_that_is_not_there(linked_dataset, tmp_path):
    done = trained(linked_dataset[0], tmp_path / "run", "--labels=pseudo")
    assert done.exit_code == 2
    assert "no label column 'pseudo'; it has label, noisy" in done.output
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
