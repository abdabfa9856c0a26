"""inspect and doctor: one screen of facts, the same as JSON, of datasets, of builds and of this machine."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avprep import schema
from avprep.cli import main
from avprep.dataset import Dataset
from avprep.doctor import examine
from avprep.media import versions


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def copy(demo_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo_dataset, tmp_path / "set"))


def test_facts_are_those_of_the_dataset(copy):
    dataset = Dataset(copy)
    ids = pa.array(dataset.clip_ids[:7])
    labels = pa.array([0, 1, 2, -1, 0, 1, 2], pa.int32())
    (copy / "labels").mkdir()
    column = pa.table({"clip_id": ids, "label": labels})
    path = copy / schema.labels_path("mine")
    pq.write_table(column.replace_schema_metadata({schema.LABEL_NAMES_KEY: b'["a", "b", "c"]'}), path)
    facts = json.loads(run("inspect", copy, "--json").stdout)
    assert facts["finished"]
    assert facts["digest"] == dataset.digest
    assert facts["num_classes"] == 8
    assert facts["splits"]["train"]["clips"] == facts["splits"]["train"]["planned"] == 48
    assert set(facts["splits"]["test"]["classes"].values()) == {4}
    hours = {name: dataset.duration_seconds[dataset.rows_of(name)].sum() / 3600 for name in ("train", "test")}
    assert {name: split["hours"] for name, split in facts["splits"].items()} == pytest.approx(hours)
    tars = list(copy.glob("shards/*/*/*.tar"))
    assert facts["shards"] == {
        "planned": len(tars),
        "done": len(tars),
        "bytes": sum(tar.stat().st_size for tar in tars),
    }
    assert facts["failures"] == {}
    assert facts["labels"] == {"mine": {"num_classes": 3, "clips": 6}}
    assert facts["logmel"]["std_db"] == [dataset.logmel_std.min(), dataset.logmel_std.max()]
    assert facts["versions"]["numpy"] == np.__version__
    text = run("inspect", copy).stdout
    assert len(text.splitlines()) < 25
    for words in (
        f"{copy}: avshards/1, digest {dataset.digest[:16]}",
        "48x48",
        "80, ",
        "6 (bell bars)",
        "mine: 3 classes",
    ):
        assert words in text


def test_a_multi_label_column_is_shown_with_how_many_labels(copy, tmp_path):
    ids = Dataset(copy).clip_ids
    lists = {ids[3]: ["bell bars", "no class"], ids[5]: [], ids[9]: ["bell bars"]}
    lines = [json.dumps({"clip_id": clip_id, "label": names}) for clip_id, names in lists.items()]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert run("add-labels", copy, tmp_path / "t.jsonl", "--name", "heard", "--multi").exit_code == 0
    facts = json.loads(run("inspect", copy, "--json").stdout)
    assert facts["labels"] == {"heard": {"num_classes": 2, "clips": 2, "labels": 3}}
    assert "heard: 2 classes, 2 clips, 3 labels" in run("inspect", copy).stdout


def test_an_unfinished_build_is_shown_with_how_far_it_is(copy):
    """Failures and the smallest class are counted from what is built."""
    facts = json.loads(run("inspect", copy, "--json").stdout)
    for name in (schema.DATASET, schema.INDEX):
        (copy / name).unlink()
    markers = sorted(copy.glob("shards/train/*/*.json"))
    lost = json.loads(markers[0].read_text())
    markers[0].unlink()
    failing = json.loads(markers[1].read_text())
    failing["failures"] = [{"row": 0, "clip_id": "x", "path": "x", "reason": "no-audio", "detail": ""}] * 2
    markers[1].write_text(json.dumps(failing))
    now = json.loads(run("inspect", copy, "--json").stdout)
    assert not now["finished"]
    assert now["shards"]["done"] == facts["shards"]["done"] - 1
    assert now["shards"]["bytes"] == facts["shards"]["bytes"] - lost["bytes"]
    assert now["splits"]["train"]["clips"] == 48 - len(lost["clips"])
    assert now["splits"]["train"]["classes"]["bell bars"] == 6 - len(lost["clips"])
    assert now["splits"]["test"] == facts["splits"]["test"]
    assert now["failures"] == {"no-audio": 2}
    text = run("inspect", copy).stdout
    assert f"{now['shards']['done']} of {now['shards']['planned']} planned" in text
    assert "not finalized yet" in text
    assert "2 no-audio" in text


def test_no_dataset_is_a_user_error(tmp_path):
    done = run("inspect", tmp_path)
    assert done.exit_code == 2
    assert "no dataset and no build" in done.stderr


def test_the_doctor_finds_this_machine_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("doctor")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("MISSING")]
    for name in ("pyav", "ffmpeg"):
        (line,) = (line for line in lines if line.startswith(f"ok      {name} ") and "decodes" in line)
        assert {"h264", "hevc", "vp9", "aac", "opus"} <= set(line.replace(",", "").split())
    for words in ("cores: ", "memory: ", "address space: ", "open files: ", f"disk {tmp_path}: ", "shared memory: "):
        assert any(line[8:].startswith(words) for line in lines), words
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_measures_the_folders_that_are_given(tmp_path):
    (tmp_path / "a").mkdir()
    done = run("doctor", tmp_path, tmp_path / "a", "--json")
    assert done.exit_code == 0, done.output
    texts = [finding["text"] for finding in json.loads(done.stdout)]
    disks = [text for text in texts if text.startswith("disk ")]
    assert [text.split(": ")[0] for text in disks] == [f"disk {tmp_path}", f"disk {tmp_path / 'a'}"]


def test_a_decoder_that_does_not_load_is_missing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "decord", None)
    done = run("doctor")
    assert done.exit_code == 1
    assert "MISSING pyav does not load" in done.stdout
    assert "absent  decord does not load" in done.stdout


def test_an_ffmpeg_without_h264_is_missing(monkeypatch, tmp_path):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'ffmpeg version 9 by hand'\necho ' A....D aac  AAC'\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    assert versions.probe_ffmpeg() == versions.Decoder("ffmpeg", "9", ("aac",))
    found = next(finding for finding in examine() if finding.text.startswith("ffmpeg 9 decodes aac, not h264"))
    assert (found.fine, found.needed) == (False, True)


def test_a_folder_that_cannot_be_written_is_reported(monkeypatch):
    monkeypatch.chdir("/proc")
    done = run("doctor")
    assert done.exit_code == 1
    assert "MISSING disk /proc cannot be written to" in done.stdout
