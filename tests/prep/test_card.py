"""avprep card: README.md and croissant.json say what the dataset is, are its own to replace, and are read by others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import avprep
from avprep import schema
from avprep.build.finalize import finalize
from avprep.cli import main
from avprep.dataset import Dataset
from avprep.shared import store
from avprep.shared.cards import quoted
from avprep.sharing.front_matter import size_category
from tests.train.forge import Forged, forge_dataset, write_labels

ODD = "a|b `c` <d>"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    clips = [Forged(("bell", "dog", ODD)[row % 3], "test" if row < 6 else "train") for row in range(24)]
    return forge_dataset(tmp_path / "my-data", clips, 2)


def run(*words: object):
    return CliRunner().invoke(main, ["card", *map(str, words)])


def refused(*words: object) -> str:
    done = run(*words)
    assert done.exit_code == 2, (done.output, done.exception)
    return done.stderr


def front_of(folder: Path) -> dict:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card_has_the_form_of_the_hub_and_the_counts(data):
    done = run(data, "--license", "cc-by-4.0", "--creator", "A lab", "--name", "Bells: 1")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "24 clips of 3 classes" in done.stdout
    assert front_of(data) == {
        "license": "cc-by-4.0",
        "pretty_name": "Bells: 1",
        "task_categories": ["audio-classification", "video-classification"],
        "size_categories": ["n<1K"],
        "tags": ["webdataset", "audio", "video", "audio-visual"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "test", "path": ["shards/test/*/*.tar"]},
                    {"split": "train", "path": ["shards/train/*/*.tar"]},
                ],
            }
        ],
    }
    dataset, text = Dataset(data), (data / "README.md").read_text()
    for words in (
        "# Bells: 1\n",
        "24 clips (6 test, 18 train)",
        "| test | 6 | 0.00 | 3 | 2 | 2 |",
        "| train | 18 | 0.01 | 3 | 6 | 6 |",
        "| bell | 2 | 6 |",
        "| a\\|b \\`c\\` &lt;d> | 2 | 6 |",
        "8 x 8 pixels (stretch, filter area), 16 a second",
        "6 Slaney bands",
        "hop 480 samples",
        "No clip of the manifest failed.",
        dataset.digest,
        store.sha256(data / schema.INDEX),
        "[cc-by-4.0](https://creativecommons.org/licenses/by/4.0/)",
        "Made by A lab.",
    ):
        assert words in text, words
    assert "{" not in text.replace("{row", "")


def test_failures_exclusions_labels_and_kinds_are_in_it(tmp_path):
    clips = [Forged("ab"[row % 2], pictures=row > 3, split="test" if row % 4 < 2 else "train") for row in range(12)]
    folder = forge_dataset(tmp_path / "d", clips, 2, "jpeg", preset="released-code")
    marker = min(folder.glob("shards/train/*/*.json"))
    values = json.loads(marker.read_text())
    failure = {"row": 0, "clip_id": "x", "path": "x", "reason": "no-audio", "detail": ""}
    marker.write_text(json.dumps(values | {"failures": [failure] * 2}))
    finalize(folder)
    write_labels(folder, "mine", {"c0": 0, "c1": -1}, ["thing"])
    avprep.exclude(folder, ["c5"], reason="asked for")
    avprep.write_card(folder, license="unknown", citation="@misc{a, title={A set}}", tasks=("feature-extraction",))
    text = (folder / "README.md").read_text()
    for words in (
        "| `no-audio` | 2 | no audio track, or it holds no decodable sound |",
        "Taken out on request: 1,",
        "| `mine` | 1 | 1 |",
        "JPEG of quality 90",
        "taken as 16000 Hz without resampling",
        "4 of the clips are sound alone",
        "Unknown. Whoever shares this dataset states it",
        "@misc{a, title={A set}}",
    ):
        assert words in text, words
    assert front_of(folder)["task_categories"] == ["feature-extraction"]
    assert front_of(folder)["license"] == "unknown"


def test_the_same_dataset_has_the_same_card(data, tmp_path):
    copy = Path(shutil.copytree(data, tmp_path / "elsewhere" / "my-data"))
    for folder in (data, copy, data):
        avprep.write_card(folder, license="mit", date="2026-01-31")
    for name in ("README.md", "croissant.json"):
        assert (data / name).read_bytes() == (copy / name).read_bytes()
    assert not list(data.glob(".*.tmp"))


def test_a_file_of_somebody_else_or_edited_is_kept(data):
    avprep.write_card(data, license="mit")
    avprep.write_card(data, license="cc0-1.0")  # its own are replaced
    assert front_of(data)["license"] == "cc0-1.0"
    for name in ("README.md", "croissant.json"):
        path = data / name
        for edited in (path.read_text().replace("bell", "gong", 1), "mine", "{}", "[1]"):
            path.write_text(edited)
            before = {one: (data / one).read_bytes() for one in ("README.md", "croissant.json")}
            assert f"{name} was not written by 'avprep card', or was edited since" in refused(data, "--license", "mit")
            assert before == {one: (data / one).read_bytes() for one in before}
        assert run(data, "--license", "mit", "--overwrite").exit_code == 0
        assert run(data, "--license", "mit").exit_code == 0
        path.unlink()
        path.mkdir()
        assert "no ordinary file" in refused(data, "--license", "mit")
        path.rmdir()
        path.touch()
        assert run(data, "--license", "mit").exit_code == 0


def test_what_a_person_states_is_checked(data, tmp_path):
    for words, sentence in (
        (["--license", "my own"], "license 'my own' is not known; give one of cc0-1.0,"),
        (["--license", "mit", "--date", "2026-2-30"], "date must be a day"),
        (["--license", "mit", "--dataset-version", "1"], "version must be MAJOR.MINOR.PATCH"),
        (["--license", "mit", "--url", "example.org"], "url must begin with https://"),
        (["--license", "mit", "--task", "Sorting: sounds"], "must be one such as audio-classification"),
        (["--license", "mit", "--citation", tmp_path / "no.bib"], "no.bib does not exist"),
        ([], "Missing option '--license'"),
    ):
        assert sentence in refused(data, *words)
    assert "is no finished dataset" in refused(tmp_path, "--license", "mit")
    assert not (data / "README.md").exists()
    assert run(data, "--license", "https://my.org/licence").exit_code == 0
    front = front_of(data)
    assert (front["license"], front["license_link"]) == ("other", "https://my.org/licence")


def test_tars_without_clips_are_not_among_the_data_files(data):
    """Readers take the kinds of members from the first tar."""
    shard = Dataset(data).shards[0]
    dataset = Dataset(data)
    gone = [clip for clip, row in zip(dataset.clip_ids, dataset.shard, strict=True) if dataset.shards[row] == shard]
    avprep.exclude(data, gone, reason="asked for")
    avprep.write_card(data, license="mit")
    (split,) = (one for one in front_of(data)["configs"][0]["data_files"] if shard.startswith(f"shards/{one['split']}"))
    wanted = sorted(one for one in Dataset(data).info["shards"] if one.startswith(f"shards/{split['split']}/"))
    assert split["path"] == [one for one in wanted if one != shard]


def test_croissant_describes_the_files_as_they_are(data):
    avprep.write_card(data, license="cc-by-4.0", url="https://example.org/d", version="1.2.0")
    values = json.loads((data / "croissant.json").read_text())
    assert values["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert (values["license"], values["version"]) == ("https://creativecommons.org/licenses/by/4.0/", "1.2.0")
    objects = [one for one in values["distribution"] if one["@type"] == "cr:FileObject"]
    assert {one["contentUrl"]: one["sha256"] for one in objects} == {
        name: store.sha256(data / name) for name in (schema.INDEX, schema.DATASET)
    }
    (clips,) = (one for one in values["recordSet"] if one["@id"] == "clips")
    assert [field["source"]["extract"]["column"] for field in clips["field"]] == schema.INDEX_SCHEMA.names
    (classes,) = (one for one in values["recordSet"] if one["@id"] == "classes")
    assert [row["classes/name"] for row in classes["data"]] == Dataset(data).class_names


@pytest.mark.slow
def test_mlcroissant_takes_it_and_reads_the_clips(data, caplog):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed; it is in the extra test")
    stated = {"creator": "A lab", "url": "https://example.org/d", "date": "2026-01-31", "version": "1.0.0"}
    avprep.write_card(data, license="cc-by-4.0", citation="@misc{a}", **stated)
    read = mlcroissant.Dataset(data / "croissant.json")
    assert not [line for line in caplog.messages if "warning" in line.lower() or "error" in line.lower()]
    dataset = Dataset(data)
    rows = list(read.records("clips"))
    assert [row["clips/clip_id"].decode() for row in rows] == dataset.clip_ids
    assert [row["clips/logmel_offset"] for row in rows] == dataset.logmel_offset.tolist()
    assert [row["classes/name"] for row in read.records("classes")] == dataset.class_names


@pytest.mark.slow
@pytest.mark.parametrize("way", ["the card", "the builder"])
def test_datasets_reads_the_same_arrays(data, tmp_path, monkeypatch, way):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; it is in the extra test")
    avprep.write_card(data, license="mit")
    monkeypatch.chdir(data)
    if way == "the card":
        read = datasets.load_dataset(str(data), streaming=True)
    else:
        files = {split: f"shards/{split}/*/*.tar" for split in ("train", "test")}
        read = datasets.load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path / "cache"))
    dataset = Dataset(data)
    rows = {clip_id: row for row, clip_id in enumerate(dataset.clip_ids)}
    for split in dataset.splits:
        for clip in read[split]:
            row = rows.pop(clip["json"]["clip_id"])
            whole = dataset.read_clip(row)
            np.testing.assert_array_equal(np.array(clip["frames.npy"]), whole.frames)
            np.testing.assert_array_equal(np.array(clip["logmel.npy"]), whole.logmel)
            assert dataset.splits[dataset.split[row]] == split
    assert rows == {}


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=60)
def test_yaml_reads_a_quoted_text_as_it_was(text):
    assert yaml.safe_load(f"a:\n- b: {quoted(text)}\n") == {"a": [{"b": text}]}


@pytest.mark.parametrize(
    ("clips", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (199_176, "100K<n<1M"), (2_000_000, "1M<n<10M")],
)
def test_size_categories_are_those_of_the_hub(clips, category):
    assert size_category(clips) == category
