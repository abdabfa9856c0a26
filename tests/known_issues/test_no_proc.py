"""No /proc, no home that can be written, read-only site-packages: sandboxes, chroots, containers of any user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avprep.build import decoding
from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits
from avprep.shared.caches import VARIABLES, prepare_caches
from tests.conftest import REPOSITORY

COMMAND = [sys.executable, "-c", "from avprep.cli import main; main()"]


@pytest.fixture
def manifest(sounds, tmp_path) -> Path:
    path = tmp_path / "m.csv"
    path.write_text(f"clip_id,label,audio_path\na,x,{sounds / 'elec_beep.ogg'}\n")
    return path


@pytest.mark.slow
def test_decoding_without_proc_goes_on_without_a_memory_limit(manifest, tmp_path, monkeypatch, caplog):
    """Here in the parent; the children find their own /proc below."""
    monkeypatch.setattr(decoding, "STATM", tmp_path / "proc" / "statm")
    assert decoding.mapped_bytes() is None
    assert build_shards(manifest, tmp_path / "out", BuildConfig(), Limits()).clips == 1
    assert "there is no /proc here, so decoding processes have no memory limit" in caplog.text


def test_a_child_without_proc_starts(tmp_path, monkeypatch):
    set_limits = []
    monkeypatch.setattr(decoding, "STATM", tmp_path / "statm")
    monkeypatch.setattr(decoding, "die_with_parent", lambda _pid: None)
    monkeypatch.setattr(decoding.resource, "setrlimit", lambda *limit: set_limits.append(limit))
    decoding._begin(os.getpid(), 10**9)
    assert set_limits == []
    (tmp_path / "statm").write_text("1000 1 1\n")
    decoding._begin(os.getpid(), 10**9)
    assert set_limits == [(decoding.resource.RLIMIT_AS, (1000 * decoding.resource.getpagesize() + 10**9,) * 2)]


@pytest.mark.slow
def test_a_build_where_proc_is_empty(manifest, tmp_path):
    """For real, where this user may mount; else the two tests above stand for it."""
    script = 'mount -t tmpfs none /proc && exec "$@"'
    unshare = ["unshare", "--mount", "--map-root-user"] if os.getuid() else ["unshare", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "sh", "-c", script, "sh", "true"]).returncode:
        return
    words = [*COMMAND, "build-shards", str(manifest), "--out", str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run([*unshare, "sh", "-c", script, "sh", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "there is no /proc here" in done.stderr
    looked = subprocess.run([*COMMAND, "inspect", str(tmp_path / "out"), "--json"], capture_output=True, check=True)
    assert json.loads(looked.stdout)


def nowhere(tmp_path: Path) -> str:
    """A folder in which nobody, root neither, can make a file."""
    (tmp_path / "file").touch()
    return str(tmp_path / "file" / "home")


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME"])
def test_caches_lie_in_the_temporary_folder_where_there_is_no_other(name, tmp_path, monkeypatch):
    monkeypatch.setattr("atexit.register", lambda *_arguments, **_options: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in (*VARIABLES, "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    environ = dict(os.environ)
    prepare_caches(environ)
    assert not environ.keys() & set(VARIABLES)
    monkeypatch.setenv(name, nowhere(tmp_path))
    environ = dict(os.environ)
    prepare_caches(environ)
    folders = {environ[variable] for variable in VARIABLES}
    assert len(folders) == 1
    folder = Path(folders.pop())
    assert folder.stat().st_mode & 0o777 == 0o700  # what numba keeps there is code
    folder.rmdir()


def test_what_the_user_has_set_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", nowhere(tmp_path))
    environ = {"NUMBA_CACHE_DIR": "mine", "MPLCONFIGDIR": "mine too"}
    prepare_caches(environ)
    assert environ == {"NUMBA_CACHE_DIR": "mine", "MPLCONFIGDIR": "mine too"}


def test_no_temporary_folder_either_is_one_sentence(manifest, tmp_path):
    script = (
        "import tempfile\ntempfile._candidate_tempdir_list = lambda: [NOWHERE]\nfrom avprep.cli import main; main()\n"
    ).replace("NOWHERE", repr(nowhere(tmp_path)))
    words = ["build-shards", str(manifest), "--out", str(tmp_path / "out"), "--workers", "1"]
    environ = {**os.environ, "HOME": nowhere(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    for variable in (*VARIABLES, "XDG_CACHE_HOME"):
        environ.pop(variable, None)
    done = subprocess.run([sys.executable, "-c", script, *words], env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: There is no folder for temporary files (No usable temporary directory")
    assert done.stderr.endswith("; set TMPDIR.\n")


@pytest.mark.slow
def test_a_build_with_no_cache_but_the_temporary_folder(manifest, tmp_path):
    """numba looks beside librosa's files, then at home: here both refuse, as from a read-only image."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import tempfile\n"
        "usual = tempfile.TemporaryFile\n"
        "def refuse(*given, **options):\n"
        "    import sys\n"
        "    if 'numba' in sys.modules and 'site-packages' in str(options.get('dir')):\n"
        "        raise OSError(30, 'Read-only file system')\n"
        "    return usual(*given, **options)\n"
        "tempfile.TemporaryFile = refuse\n"
    )
    environ = {**os.environ, "HOME": nowhere(tmp_path), "PYTHONPATH": f"{site}:{REPOSITORY}", "TMPDIR": str(tmp_path)}
    for variable in (*VARIABLES, "XDG_CACHE_HOME"):
        environ.pop(variable, None)
    words = [*COMMAND, "build-shards", str(manifest), "--out", str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("avprep-caches-*"))
