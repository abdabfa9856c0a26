"""Test clips of a grown dataset that the run had trained on counted as unseen, and nothing said so."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from avprep import schema
from avprep.dataset import Dataset
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.retrieval import retrieve
from avtrain.report import write_report
from avtrain.training.pretrain import pretrain
from tests.pages import Page
from tests.train.forge import Forged, forge_dataset

CONFIG = PretrainConfig(model_size="tiny", batch_size=4, epochs=1, val_every=0)
MEASURED = EvaluateConfig(protocol="knn", windows_per_clip=1)
SPLITS = ("train",) * 6 + ("test",) * 4


def forged(folder, splits, first=0):
    """Two classes; clip k is c{first + k}, the same clip whatever its split."""
    clips = [Forged("ab"[number % 2], split, seconds=2 + number / 8) for number, split in enumerate(splits)]
    forge_dataset(folder, clips)
    return folder


def renamed(folder, change):
    """Other sources in a dataset's manifest."""
    path = folder / schema.PLAN_MANIFEST
    table = pq.read_table(path)
    sources = [change(name) for name in table.column("video_path").to_pylist()]
    pq.write_table(table.set_column(table.schema.get_field_index("video_path"), "video_path", [sources]), path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a dataset, one of the same clips of which two have moved from train to test, and a run."""
    folder = tmp_path_factory.mktemp("seen")
    forged(folder / "data", SPLITS)
    forged(folder / "moved", (*SPLITS[:4], "test", "test", "train", *SPLITS[7:]))
    pretrain(folder / "data", folder / "run", CONFIG, quiet=True)
    return folder


def test_a_test_clip_that_was_trained_on_is_counted_and_named(trained, tmp_path, caplog):
    """By its id, source and length, in a dataset that was built anew."""
    found = evaluate(trained / "moved", MEASURED, run=trained / "run", out=tmp_path / "out")
    assert found["seen_in_training"] == {"known": "all", "clips": 2, "share": 0.4, "examples": ["c4", "c5"]}
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == found
    assert "2 of 5 test clips (40 %) are among the clips that" in caplog.text
    assert "c4, c5: the scores are not those of clips that it has not seen" in caplog.text
    assert retrieve(trained / "moved", trained / "run")["seen_in_training"]["clips"] == 2


def test_the_report_names_the_scores_that_are_of_clips_that_were_trained_on(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    evaluate(trained / "moved", MEASURED, run=run, out=run / "eval" / "moved-knn-s0")
    retrieve(trained / "moved", run, out=run / "eval" / "moved-retrieval-s0")
    write_report([run], tmp_path / "report.html")
    notes = [note.text for note in Page(tmp_path / "report.html").all("p", "note")]
    said = "2 of the test clips (40.0 %) are among the clips that the encoder was trained on"
    assert sum(said in note for note in notes) == 2  # one of each measurement


def test_clips_that_were_not_trained_on_are_not_reported(trained, caplog):
    for data, run in (("data", trained / "run"), ("moved", None)):
        found = evaluate(
            trained / data, MEASURED if run else EvaluateConfig(protocol="knn", model_size="tiny"), run=run
        )
        assert found["seen_in_training"] == {"known": "all", "clips": 0, "share": 0.0, "examples": []}
    assert "trained on" not in caplog.text


def test_a_run_that_began_from_another_has_seen_its_clips(trained, tmp_path, caplog):
    forged(tmp_path / "other", SPLITS)
    renamed(tmp_path / "other", lambda name: f"other/{name}")
    config = PretrainConfig(**{**CONFIG.__dict__, "init_from": str(trained / "run")})
    pretrain(tmp_path / "other", tmp_path / "second", config, quiet=True)
    assert pq.read_table(tmp_path / "second" / "trained_on.parquet").num_rows == 12
    pretrain(tmp_path / "other", tmp_path / "second", config, quiet=True)  # it is done: nothing changes
    assert evaluate(trained / "moved", MEASURED, run=tmp_path / "second")["seen_in_training"]["clips"] == 2
    third = PretrainConfig(**{**CONFIG.__dict__, "init_from": str(tmp_path / "second")})
    pretrain(tmp_path / "other", tmp_path / "third", third, quiet=True)
    shutil.rmtree(tmp_path / "second")
    caplog.clear()
    assert evaluate(trained / "moved", MEASURED, run=tmp_path / "third")["seen_in_training"]["clips"] == 2
    assert "not known" not in caplog.text


def test_of_a_run_of_before_it_is_reported_as_unknown(trained, tmp_path, caplog):
    shutil.copytree(trained / "run", tmp_path / "old")
    (tmp_path / "old" / "trained_on.parquet").unlink()
    found = evaluate(trained / "moved", MEASURED, run=tmp_path / "old")
    assert found["seen_in_training"] == {"known": "none", "clips": None, "share": None, "examples": []}
    assert f"{tmp_path / 'old'} does not record what it was trained on" in caplog.text
    config = PretrainConfig(**{**CONFIG.__dict__, "init_from": str(tmp_path / "old")})
    pretrain(trained / "data", tmp_path / "next", config, quiet=True)
    assert evaluate(trained / "moved", MEASURED, run=tmp_path / "next")["seen_in_training"]["known"] == "part"
    assert "began from weights of which it is not known what they were trained on" in caplog.text


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda name: f"../../clips/{name}", 2),  # the manifest lies elsewhere
        (lambda name: f"elsewhere/{name}", 2),
        (lambda name: f"x{name}", 0),  # other files under the same ids
    ],
)
def test_one_clip_is_one_file_under_one_id(trained, tmp_path, change, count):
    from avtrain.runs.trained_on import overlap_with_training

    shutil.copytree(trained / "moved", tmp_path / "data")
    renamed(tmp_path / "data", change)
    dataset = Dataset(tmp_path / "data")
    rows = dataset.rows_of("test")
    assert overlap_with_training(trained / "run", dataset, rows)["clips"] == count


def test_the_same_bytes_are_the_same_clip(trained):
    """Whatever id and source: here the whole dataset that was trained on."""
    from avtrain.runs.trained_on import _same, clips_of

    dataset = Dataset(trained / "data")
    table = clips_of(dataset, np.arange(len(dataset)))
    other = table.set_column(0, "clip_id", [[f"x{number}" for number in range(len(dataset))]])
    assert _same(other, table).all()
