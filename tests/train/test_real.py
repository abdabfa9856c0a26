"""Real recordings through the whole path with the full-size models: talking faces, four colour words."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

import avprep.cli
import avtrain.cli
from avprep.manifest.read_write import read_manifest

pytestmark = pytest.mark.slow


def run(program, *arguments):
    done = CliRunner().invoke(program.main, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_grid_clips_to_full_size_encoders(real_data, tmp_path):
    for colour in ("blue", "green", "red", "white"):
        (tmp_path / "clips" / colour).mkdir(parents=True)
        for path in sorted((real_data / "grid" / colour).glob("*.mp4"))[:3]:
            shutil.copy(path, tmp_path / "clips" / colour)
    run(avprep.cli, "manifest", "folder", "--root", tmp_path / "clips", "--out", tmp_path / "m.csv")
    assert "12 clips, 0 failed" in run(avprep.cli, "build-shards", tmp_path / "m.csv", "--out", tmp_path / "grid")
    train = [tmp_path / "grid", "--run", tmp_path / "run", "--batch-size", 2, "--max-steps", 2, "--threads", 1]
    run(avtrain.cli, "pretrain", *train, "--strategy", "soft-positive")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    assert all(0 < line["loss"] < 20 for line in lines)
    printed = run(avtrain.cli, "evaluate", tmp_path / "grid", "--run", tmp_path / "run", "--epochs", 5, "--threads", 1)
    tests = sum(clip.split == "test" for clip in read_manifest(tmp_path / "m.csv"))
    assert 0 < tests < 12
    assert f"on {tests} test clips" in printed
    assert (tmp_path / "run" / "eval" / "grid-linear-s0" / "result.json").exists()
