"""Real recordings through the whole path with the full-size models: talking faces, four colour words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from avprep.manifest.read_write import read_manifest

pytestmark = pytest.mark.slow


def run(package, *arguments):
    command = [sys.executable, "-c", f"from {package}.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grid_clips_to_full_size_encoders(real_data, tmp_path):
    for colour in ("blue", "green", "red", "white"):
        (tmp_path / "clips" / colour).mkdir(parents=True)
        for path in sorted((real_data / "grid" / colour).glob("*.mp4"))[:5]:
            shutil.copy(path, tmp_path / "clips" / colour)
    run("avprep", "manifest", "folder", "--root", tmp_path / "clips", "--out", tmp_path / "m.csv")
    assert "20 clips, 0 failed" in run("avprep", "build-shards", tmp_path / "m.csv", "--out", tmp_path / "grid")
    train = [tmp_path / "grid", "--run", tmp_path / "run", "--batch-size", 4, "--max-steps", 2, "--threads", 2]
    run("avtrain", "pretrain", *train, "--strategy", "soft-positive")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    assert all(0 < line["loss"] < 20 for line in lines)
    printed = run("avtrain", "evaluate", tmp_path / "grid", "--run", tmp_path / "run", "--epochs", 5, "--threads", 2)
    tests = sum(clip.split == "test" for clip in read_manifest(tmp_path / "m.csv"))
    assert 0 < tests < 20
    assert f"on {tests} test clips" in printed
    assert (tmp_path / "run" / "eval" / "grid-linear-s0" / "result.json").exists()
