"""avtrain demo, small, as a user runs it: table, report, and a second run that finds all done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest
from click.testing import CliRunner

from avprep.shared import configs
from avtrain.cli import main
from avtrain.reproduce import run_grid
from avtrain.reproduce.demo import DemoSettings
from tests import warm

pytestmark = pytest.mark.slow

SMALL = ["--clips-per-class", "5", "--seeds", "1", "--epochs", "2", "--batch-size", "8", "--instance-cue", "0.5"]


def demo(out):
    command = [*warm.python(), "-c", "from avtrain.cli import main; main()", "demo", str(out), *SMALL]
    environ = {**os.environ, warm.POOLS: "yes"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_ends_with_its_table_and_report_and_is_kept(demo_clips_without_cue, tmp_path, monkeypatch):
    """It goes on where the clips without a cue are rendered."""
    out = tmp_path / "out"
    settings = DemoSettings(clips_per_class=5, seeds=1, epochs=2, batch_size=8, instance_cue=0.5)
    configs.claim(out / "demo.json", configs.to_dict(settings), "demo")
    shutil.copytree(demo_clips_without_cue.parent, out / "cue-0" / "clips")
    table = demo(out)
    rows = json.loads((out / "results.json").read_text())["rows"]
    found = [(row["cue"], row["strategy"], row["updates"]) for row in rows]
    assert found == [
        (0.5, "soft-positive", 6), (0.5, "random", 6), (0.5, "untrained", 0),
        (0.0, "soft-positive", 6), (0.0, "random", 6), (0.0, "untrained", 0),
    ]  # fmt: skip
    for row in rows:
        assert f"{100 * row['accuracy']:.1f}" in table
        assert row["test_clips"] == 16
    assert "synthetic" in table
    page = (out / "report.html").read_text()
    assert "synthetic" in page
    assert page.count("data:image/") >= 2 + 2 * 6
    assert not re.search(r"(src|href)=\"?https?://", page)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert len(before) == 2 * 2 * 2
    monkeypatch.setattr(run_grid, "map_processes", lambda run, cells, *_: map(run, cells))
    again = CliRunner().invoke(main, ["demo", str(out), *SMALL])
    assert (again.exit_code, again.stdout) == (0, table)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before
