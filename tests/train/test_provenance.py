"""Which commit a run's code is of."""

from __future__ import annotations

import subprocess

import pytest

from avtrain.runs.environment import commit_of


def git(folder, *words):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_the_commit_of_a_clean_checkout(repository):
    (repository / "runs").mkdir()
    (repository / "runs" / "notes.txt").write_text("untracked files are no change of the code")
    assert commit_of(repository) == git(repository, "rev-parse", "HEAD").strip()


def test_changed_code_is_recorded(repository):
    (repository / "code.py").write_text("2\n")
    assert commit_of(repository) == git(repository, "rev-parse", "HEAD").strip() + "+changes"


def test_a_repository_without_a_commit_has_none(tmp_path):
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None


def test_an_installed_package_has_the_commit_that_pip_took_it_from(tmp_path, monkeypatch):
    info = tmp_path / "avprep_avtrain-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: avprep-avtrain\nVersion: 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert commit_of(tmp_path) is None
    (info / "direct_url.json").write_text('{"url": "https://example.org/a.git", "vcs_info": {"commit_id": "abc"}}')
    assert commit_of(tmp_path) == "abc"
