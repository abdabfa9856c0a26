"""File systems that lack flock, or every lock: the work goes on with a warning, and files are whole all the same."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

import avprep.cli
import avtrain.cli
from avprep.dataset import Dataset
from avprep.shared import locks, store
from avprep.shared.errors import BusyError, UserError
from tests.train.forge import Forged, forge_dataset

NUMBERS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL]
TRAINING = ("--model-size=tiny", "--batch-size=2", "--max-steps=1", "--epochs=1", "--device=cpu", "--threads=1")


def lack(monkeypatch, number: int, *names: str) -> None:
    """Have these functions of fcntl refuse as on such a file system."""

    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in names:
        monkeypatch.setattr(fcntl, name, refuse)
    monkeypatch.setattr(locks, "_warned", set())


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    clips = [Forged("ab"[row % 2], split) for row in range(4) for split in ("train", "test")]
    return forge_dataset(tmp_path_factory.mktemp("locks") / "data", clips, frame_size=32, mel_bands=32)


@pytest.mark.parametrize("number", NUMBERS, ids=os.strerror)
def test_without_any_lock_there_is_one_warning(number, tmp_path, monkeypatch, caplog):
    lack(monkeypatch, number, "flock", "fcntl")
    for name in ("a", "b"):
        with store.folder_lock(tmp_path, "testing"):
            store.write_bytes(tmp_path / name, b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    (message,) = (record.getMessage() for record in caplog.records)
    assert "is on a file system without file locks" in message
    assert "run one command at a time there" in message


def test_without_flock_another_lock_holds(tmp_path, monkeypatch, caplog):
    lack(monkeypatch, errno.ENOSYS, "flock")
    with store.folder_lock(tmp_path, "testing"):
        with pytest.raises(BusyError, match="Another process is testing"), store.folder_lock(tmp_path, "testing"):
            pass
        open(tmp_path / store.LOCK).close()  # closing another handle of the file frees no lock
        with pytest.raises(BusyError), store.folder_lock(tmp_path, "testing"):
            pass
    with store.folder_lock(tmp_path, "testing"):
        pass
    assert not caplog.records


def test_without_flock_one_waits_for_the_other(tmp_path, monkeypatch):
    lack(monkeypatch, errno.ENOLCK, "flock")
    order = []

    def second() -> None:
        with store.folder_lock(tmp_path, "testing", wait=True):
            order.append("second")

    with store.folder_lock(tmp_path, "testing"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_without_any_lock_two_writers_do_not_meet(tmp_path, monkeypatch):
    """Under one temporary name their bytes would mix, and the second would find its file gone."""
    lack(monkeypatch, errno.ENOSYS, "flock", "fcntl")
    final = tmp_path / "file"
    with store.atomic_path(final) as one, store.atomic_path(final) as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert final.read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_any_lock_what_a_killed_process_left_goes(tmp_path, monkeypatch):
    lack(monkeypatch, errno.ENOSYS, "flock", "fcntl")
    with store.atomic_path(tmp_path / "file") as temporary:
        alive = temporary.with_name(temporary.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-"))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = alive.with_name(alive.name.replace(f"-{os.getppid()}-", f"-{ended.pid}-"))
    for path in (alive, dead):
        path.touch()
    store.write_bytes(tmp_path / "file", b"x")
    assert alive.exists()
    assert not dead.exists()
    assert store.is_temporary(dead.name, "file")


def test_a_file_that_is_being_written_is_no_file_that_cannot_be_locked(tmp_path, monkeypatch):
    lack(monkeypatch, errno.ENOSYS, "flock")
    with store.atomic_path(tmp_path / "file") as temporary:
        temporary.write_bytes(b"x")
        with pytest.raises(UserError, match="Another process is writing"), store.atomic_path(tmp_path / "file"):
            pass
    lack(monkeypatch, errno.EIO, "flock")
    with pytest.raises(OSError, match="Input/output"):
        store.write_bytes(tmp_path / "file", b"x")


@pytest.mark.slow
def test_commands_of_both_packages_go_on(template, sounds, tmp_path, monkeypatch):
    lack(monkeypatch, errno.ENOSYS, "flock", "fcntl")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.csv").write_text(f"clip_id,label,audio_path\na,x,{sounds / 'elec_beep.ogg'}\n")
    (tmp_path / "l.csv").write_text("clip_id,label\na,y\n")
    (tmp_path / "ids").write_text("c0\n")
    for package, *words in (
        (avprep, "build-shards", "m.csv", "--out", "built", "--workers", "1"),
        (avprep, "finalize", "built"),
        (avprep, "add-labels", "built", "l.csv", "--name", "mine"),
        (avprep, "exclude", template, "--ids", "ids", "--reason", "asked"),
        (avtrain, "pretrain", template, "--run", "run", *TRAINING),
    ):
        done = CliRunner().invoke(package.cli.main, list(map(str, words)))
        assert done.exit_code == 0, (words, done.output, done.exception)
    assert Dataset(tmp_path / "built").clip_ids == ["a"]
