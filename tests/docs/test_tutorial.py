"""The tutorial's commands, block by block, as a reader types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests import warm
from tests.docker.recipes import PATH
from tests.docs.pages import DOCS, blocks

pytestmark = pytest.mark.slow


def type_in(folder, page):
    for block in blocks(DOCS / "tutorial" / page, "sh"):
        done = subprocess.run(
            ["bash", "-euc", block],
            cwd=folder,
            env={**os.environ, "PATH": f"{warm.tools()}{os.pathsep}{PATH}", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


def test_the_tutorial_leads_from_clips_to_a_comparison(demo_clips, tmp_path):
    """`avprep demo` finds its clips rendered: it keeps them, as one that goes on does."""
    shutil.copytree(demo_clips.parent, tmp_path / "demo-clips")
    type_in(tmp_path, "first-dataset.md")
    assert "<audio" in (tmp_path / "my-data.html").read_text(encoding="utf-8")
    type_in(tmp_path, "first-result.md")
    assert "soft" in (tmp_path / "runs.html").read_text(encoding="utf-8")
    results = list(tmp_path.glob("runs/*/seed-*/eval/*/result.json"))
    assert len(results) == 6
    assert all(0 <= json.loads(path.read_text(encoding="utf-8"))["accuracy"] <= 1 for path in results)
