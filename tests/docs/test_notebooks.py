"""The notebooks of docs/: executed as a reader does, on fewer clips and updates; stored without outputs or with all."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from tests.docker.recipes import PATH
from tests.docs.notebooks import NOTEBOOKS, executed, read, sources

SMALLER = {
    "EPOCHS, BATCH_SIZE = 60, 64": "EPOCHS, BATCH_SIZE = 1, 16",
    "batch_size=64": "batch_size=16",
    "--clips-per-class 64": "--clips-per-class 10",
    "epochs=20": "epochs=2",
    "workers=2": "workers=1",
}
SHOWN = {
    "first-dataset": {"image/jpeg": 3, "text/html": 1},
    "label-aware-training": {"image/jpeg": 2, "text/html": 1},
    "reading-results": {"image/jpeg": 3, "text/html": 1},
}
"""pictures and sounds of each"""


@pytest.mark.slow
def test_a_reader_gets_from_clips_to_results(demo_clips, tmp_path, monkeypatch):
    """One after the other in one folder; `avprep demo` keeps the clips that are there."""
    pytest.importorskip("IPython", reason="IPython is not installed; it is in the extras test and notebooks")
    shutil.copytree(demo_clips.parent, tmp_path / "demo-clips")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", PATH)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for path in NOTEBOOKS:
        outputs = [one for cell in executed(read(path), SMALLER) for one in cell]
        kinds = [kind for one in outputs for kind in one.get("data", {}) if kind != "text/plain"]
        assert {kind: kinds.count(kind) for kind in kinds} == SHOWN[path.stem]
    text = "".join(line for one in outputs for line in one.get("text", []))
    assert "soft-positive minus random" in text
    assert "runs.html: 2 runs, 2 evaluations" in text
    assert (tmp_path / "runs.html").exists()
    assert os.getcwd() == str(tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs_or_with_all(path):
    cells = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    assert path.with_suffix(".md").exists()
    if not any(cell["outputs"] for cell in cells):
        assert {cell["execution_count"] for cell in cells} == {None}
        return
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [kind for cell in cells for one in cell["outputs"] for kind in one.get("data", {}) if kind != "text/plain"]
    assert {kind: kinds.count(kind) for kind in kinds} == SHOWN[path.stem]
    assert path.stat().st_size < 500_000
    assert "/tmp" not in "".join(line for cell in cells for one in cell["outputs"] for line in one.get("text", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_notebooks_lead_to_files(path):
    prose = "".join("".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "markdown")
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        assert (path.parent / link).exists(), link
    assert sources(read(path))
