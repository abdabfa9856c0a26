"""avprep publish against a hub on loopback: whole, resumed after a failure, only what changed; what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import avprep
from avprep.cli import main
from avprep.dataset import Dataset
from avprep.sharing import publish as module
from avprep.sharing.publish import batches, files_of
from tests.prep.loopback_hub import LoopbackHub, logged_in
from tests.train.forge import Forged, forge_dataset

TARGET = "hf://datasets/lab/sounds"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A dataset of 12 clips in 6 shards with its card."""
    clips = [Forged("ab"[row % 2], "test" if row % 3 == 0 else "train") for row in range(12)]
    folder = forge_dataset(tmp_path / "data", clips, 2)
    avprep.write_card(folder, license="cc-by-4.0")
    (folder / "reports").mkdir()
    (folder / "reports" / "build-0-of-1.json").write_text("{}")
    return folder


@pytest.fixture
def hub(tmp_path: Path):
    with logged_in(tmp_path / "cache") as hub:
        yield hub


def run(*words: object):
    return CliRunner().invoke(main, ["publish", *map(str, words)])


def refused(*words: object) -> str:
    done = run(*words)
    assert done.exit_code == 2, (done.output, done.exception)
    *_progress, sentence = done.stderr.splitlines()
    assert sentence.startswith("error: ")
    return sentence


def contents(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_of(folder).items()}


def test_the_published_files_are_the_dataset(data, hub: LoopbackHub, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FILES_TOGETHER", 5)
    done = run(data, TARGET)
    assert done.exit_code == 0, (done.output, done.exception)
    files = hub.files["lab/sounds"]
    assert f"{hub.endpoint}/datasets/lab/sounds: {len(files) - 1} files" in done.stdout
    assert ".lock" not in files
    assert not [name for name in files if name.startswith("reports")]
    assert set(hub.commits[-1]) == {"README.md", "croissant.json", "dataset.json"}
    assert all(name.startswith("shards/") for name in hub.commits[0])
    assert hub.created[0].get("private", hub.created[0].get("visibility") == "private") is True
    for name, content in files.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    assert contents(tmp_path / "copy") == contents(data)
    assert Dataset(tmp_path / "copy").digest == Dataset(data).digest


def test_an_upload_that_failed_goes_on(data, hub: LoopbackHub, monkeypatch):
    monkeypatch.setattr(module, "FILES_TOGETHER", 4)
    hub.commits_left = 2
    assert "could not be written (HTTP 500); the same command goes on" in refused(data, TARGET)
    there = set(hub.files["lab/sounds"])
    assert "dataset.json" not in there
    hub.commits_left = 100
    done = avprep.publish(data, TARGET, quiet=True)
    assert done.kept == len(there) - 1  # without .gitattributes
    assert done.files + done.kept == len(files_of(data))
    assert {name: hub.files["lab/sounds"][name] for name in files_of(data)} == contents(data)
    assert len(hub.uploaded) == len(set(hub.uploaded))  # no object was sent twice


def test_only_what_changed_is_uploaded(data, hub: LoopbackHub):
    avprep.publish(data, TARGET, public=True, quiet=True)
    commits = len(hub.commits)
    assert avprep.publish(data, TARGET, quiet=True).files == 0
    assert len(hub.commits) == commits
    avprep.write_card(data, license="cc0-1.0")
    done = avprep.publish(data, TARGET, quiet=True)
    assert (done.files, hub.commits[-1]) == (2, ["README.md", "croissant.json"])
    assert hub.files["lab/sounds"]["README.md"] == (data / "README.md").read_bytes()


def test_shards_of_another_state_are_not_mixed_in(data, hub: LoopbackHub):
    hub.files["lab/sounds"] = {"shards/train/0000-old/000000.tar": b"old"}
    sentence = refused(data, TARGET)
    assert f"{TARGET} has 1 shards or parts of them that {data} has not (shards/train/0000-old/000000.tar)" in sentence
    assert hub.commits == []


def test_a_hub_that_refuses_or_is_down_is_reported(data, hub: LoopbackHub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert "may not be made (HTTP 401): log in with 'hf auth login'" in refused(data, TARGET)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "could not be made" in refused(data, TARGET)


def test_what_must_not_be_published_is_refused_before_the_hub_is_asked(data, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "Hub", lambda *_repository: pytest.fail("the hub was asked"))
    for target in ("s3://bucket/data", "hf://lab/sounds", "hf://datasets/sounds", "hf://datasets/lab/sounds/more"):
        assert "give hf://datasets/ORG/NAME" in refused(data, target)
    assert "is no finished dataset" in refused(tmp_path, TARGET)
    (data / "README.md").unlink()
    assert "README.md does not exist; 'avprep card" in refused(data, TARGET)
    avprep.write_card(data, license="mit")
    avprep.exclude(data, ["c0"], reason="asked for")
    assert "README.md was written for another state of the dataset" in refused(data, TARGET)
    avprep.write_card(data, license="mit")
    assert "1 clips of" in refused(data, TARGET)
    with pytest.raises(pytest.fail.Exception, match="the hub was asked"):
        avprep.publish(data, TARGET, include_excluded=True)


def test_without_the_client_the_extra_is_named(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'avprep-avtrain[hub]'" in refused(data, TARGET)


def test_commits_are_bounded_by_files_and_bytes_and_the_last_files_come_alone(monkeypatch):
    monkeypatch.setattr(module, "FILES_TOGETHER", 3)
    monkeypatch.setattr(module, "BYTES_TOGETHER", 100)
    sizes = {"a": 60, "b": 60, "c": 10, "d": 10, "e": 10, "f": 1, "dataset.json": 1, "README.md": 1}
    assert list(batches(sizes)) == [["a"], ["b", "c", "d"], ["e", "f"], ["dataset.json", "README.md"]]
    assert list(batches({"a": 1000})) == [["a"]]
    assert list(batches({})) == []


def test_absolute_sources_are_counted(data, monkeypatch):
    import pyarrow as pa

    assert module.absolute_paths(data) == 0
    table = pa.table({"video_path": ["/a.mp4", "b.mp4", ""], "audio_path": ["", "", "/c.wav"]})
    monkeypatch.setattr(Dataset, "plan_columns", lambda _self, *_names: table)
    assert module.absolute_paths(data) == 2
