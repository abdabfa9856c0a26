"""avprep exclude: clips leave the index for good, the record says why, and a kill leaves nothing torn."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from avprep.build.exclude import exclude
from avprep.build.finalize import finalize
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.dataset import Dataset
from avprep.dataset.history import read_history, sentence_of
from avprep.errors import UserError
from avprep.manifest.read_write import Clip, write_manifest
from avprep.shared.store import sha256
from tests.conftest import REPOSITORY

CONFIG = BuildConfig(video=VideoSpec(frame_size=16, frame_codec="jpeg"))
TABLES = ("index.parquet", "dataset.json", "failures.jsonl", "excluded.jsonl")
KILLED_AT = """
import os, signal, sys
from avprep.build.exclude import exclude
left = int(sys.argv[2])
def hook(event, arguments):
    global left
    if event in ("os.rename", "os.remove") and sys.argv[1] in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
exclude(__import__("pathlib").Path(sys.argv[1]), ["a2"], "asked for", "2024-05-01")
"""


@pytest.fixture(scope="module")
def built(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with manifest m.csv and its dataset `data`: a0 to a2 and b0 are good, a3 is empty."""
    folder = tmp_path_factory.mktemp("built")
    good = str(videos / "bbb_h264_aac.mp4")
    clips = [Clip(f"a{n}", "a", video_path=good, start_seconds=n / 5, end_seconds=1.0) for n in range(3)]
    clips += [Clip("a3", "a", video_path=str(videos / "empty.mp4")), Clip("b0", "b", "test", video_path=good)]
    write_manifest(folder / "m.csv", clips)
    build_shards(folder / "m.csv", folder / "data", CONFIG, Limits())
    return folder


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "data", tmp_path / "data"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def files(folder: Path) -> dict[str, bytes]:
    """Every file but the reports, which tell of times."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("reports/")}


def ids_of(path: Path) -> list[str]:
    return [json.loads(line)["clip_id"] for line in path.read_text().splitlines()]


def test_excluded_clips_leave_the_index_and_are_listed_with_the_reason(built, data, tmp_path):
    (tmp_path / "ids.txt").write_text("a3\na1\n\na1\n")
    before = files(data)
    done = run("exclude", data, "--ids", tmp_path / "ids.txt", "--reason", "taken down", "--date", "2024-05-01")
    assert done.exit_code == 0, done.output
    assert "2 clips excluded, 0 already were; 3 clips left" in done.output
    assert [json.loads(line) for line in (data / "excluded.jsonl").read_text().splitlines()] == [
        {"clip_id": "a3", "reason": "taken down", "date": "2024-05-01"},
        {"clip_id": "a1", "reason": "taken down", "date": "2024-05-01"},
    ]
    dataset = Dataset(data)
    assert dataset.clip_ids == ["b0", "a0", "a2"]
    assert dataset.info["counts"] == {"train": {"a": 2, "b": 0}, "test": {"a": 0, "b": 1}}
    assert dataset.info["index_sha256"] == sha256(data / "index.parquet")
    assert dataset.digest != Dataset(built / "data").digest
    every = dataset.clip_ids + ids_of(data / "failures.jsonl") + ids_of(data / "excluded.jsonl")
    assert sorted(every) == ["a0", "a1", "a2", "a3", "b0"], "each clip of the manifest stands in exactly one table"
    after = files(data)
    assert {path for path in after | before if after.get(path) != before.get(path)} == {*TABLES, "history.jsonl"}
    whole = Dataset(built / "data")
    for row, clip_id in enumerate(dataset.clip_ids):
        found, expected = dataset.read_clip(row), whole.read_clip(whole.clip_ids.index(clip_id))
        assert np.array_equal(found.logmel, expected.logmel)
        assert np.array_equal(found.frames, expected.frames)


def test_an_exclusion_is_on_record_once(data):
    before = Dataset(data)
    exclude(data, ["a2", "a3"], "asked for", "2024-05-01")
    exclude(data, ["a2"], "asked for again", "2024-06-01")
    (line,) = read_history(data / "history.jsonl")
    assert (line["command"], line["clips"], line["date"]) == ("exclude", 1, "2024-05-01")
    assert line["digest_before"] == before.digest
    assert sentence_of(Dataset(data).changes_since(before.digest)) == "1 clips went by 'avprep exclude' on 2024-05-01"
    exclude(data, ["a3"], "a failed clip", "2024-07-01")
    assert len(read_history(data / "history.jsonl")) == 1


def test_verify_vouches_for_what_is_left_and_its_labels(data, tmp_path):
    (tmp_path / "labels.csv").write_text("clip_id,label\na0,x\na1,y\n")
    assert run("add-labels", data, tmp_path / "labels.csv", "--name", "mine").exit_code == 0
    exclude(data, ["a1", "a3"], "asked for", "2024-05-01")
    done = run("verify", data)
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_builds_and_finalize_keep_an_exclusion(built, data):
    exclude(data, ["a1"], "asked for", "2024-05-01")
    after = files(data)
    assert finalize(data).clips == 3
    assert files(data) == after
    assert build_shards(built / "m.csv", data, CONFIG, Limits(), retry_failed=True).shards_built == 1
    assert files(data) == after


def test_a_second_exclusion_is_added_to_the_first(data):
    exclude(data, ["a1"], "first", "2024-05-01")
    done = exclude(data, ["a2", "a1"], "second", "2024-06-01")
    assert (done.new, done.already, done.left) == (1, 1, 2)
    lines = [json.loads(line) for line in (data / "excluded.jsonl").read_text().splitlines()]
    assert [(line["clip_id"], line["reason"], line["date"]) for line in lines] == [
        ("a1", "first", "2024-05-01"),
        ("a2", "second", "2024-06-01"),
    ]


def test_unknown_ids_are_named_together_and_nothing_changes(data, tmp_path):
    (tmp_path / "ids.txt").write_text("a1\nno-1\nno 2\n")
    before = files(data)
    done = run("exclude", data, "--ids", tmp_path / "ids.txt", "--reason", "x")
    assert done.exit_code == 2
    assert "no-1\n  no 2" in done.output
    assert files(data) == before


def test_what_exclude_refuses(data, tmp_path):
    before = files(data)
    with pytest.raises(UserError, match="no clip left"):
        exclude(data, ["a0", "a1", "a2", "b0"], "x", "2024-05-01")
    with pytest.raises(UserError, match="holds no build"):
        exclude(tmp_path / "nothing", ["a0"], "x", "2024-05-01")
    assert files(data) == before
    next(data.glob("shards/test/*/*.json")).unlink()
    with pytest.raises(UserError, match="not built yet"):
        exclude(data, ["a0"], "x", "2024-05-01")
    assert not (data / "excluded.jsonl").exists()
    for content, sentence in (("\n", "names no id"), (None, "is UTF-16; convert it")):
        if content is not None:
            (tmp_path / "ids.txt").write_text(content)
        else:
            (tmp_path / "ids.txt").write_bytes(b"\xff\xfe\xff")
        done = run("exclude", data, "--ids", tmp_path / "ids.txt", "--reason", "x")
        assert (done.exit_code, sentence in done.output) == (2, True), done.output


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_the_old_set_the_new_one_or_none_until_repaired(built, data, tmp_path):
    """kill -9 before each rename or removal that exclude makes, in turn; the same command then repairs."""
    old, wanted = files(built / "data"), tmp_path / "wanted"
    shutil.copytree(data, wanted)
    exclude(wanted, ["a2"], "asked for", "2024-05-01")
    new = files(wanted)
    assert {path for path in new if new[path] != old.get(path)} == {
        "index.parquet",
        "dataset.json",
        "excluded.jsonl",
        "history.jsonl",
    }
    seen = set()
    for step in range(1, 20):
        folder = Path(shutil.copytree(built / "data", tmp_path / f"killed-{step}"))
        command = [sys.executable, "-c", KILLED_AT, str(folder), str(step)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        if (folder / "dataset.json").exists():
            dataset = Dataset(folder)
            assert dataset.info["index_sha256"] == sha256(folder / "index.parquet"), f"step {step} leaves it torn"
            seen.add(len(dataset))
        else:
            seen.add(0)
            with pytest.raises(UserError, match="no finished dataset"):
                Dataset(folder)
        exclude(folder, ["a2"], "asked for", "2024-05-01")
        assert files(folder) == new
    assert step == 7, "excluded.jsonl, history.jsonl, failures.jsonl, old dataset.json, index.parquet, dataset.json"
    assert seen == {4, 0}
    assert pq.read_table(folder / "index.parquet").num_rows == 3
