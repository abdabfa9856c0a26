"""Folders held by one process at a time: the lock file, who is refused, what a kill leaves."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from avprep.build.run import has_plan
from avprep.shared import configs
from avprep.shared.errors import BusyError, UserError
from avprep.shared.store import LOCK, folder_lock
from avtrain.runs import folder as run_folder

HOLD = """
import sys, time
from pathlib import Path
from avprep.shared.store import folder_lock

with folder_lock(Path(sys.argv[1]), "planning"):
    print("held", flush=True)
    time.sleep(600)
"""


def free(path: Path) -> bool:
    """Whether `path`, a file or a folder, is locked by nobody."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"Another process is training in {tmp_path}; wait for it to end or stop"):
            folder_lock(tmp_path, "training in").__enter__()
    finally:
        holder.kill()
        holder.communicate()
    with folder_lock(tmp_path, "training in"):
        pass
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(LOCK, b"")]


def test_the_file_is_locked_and_not_the_folder_which_nfs_cannot(tmp_path):
    with folder_lock(tmp_path, "filling"):
        assert free(tmp_path)
        assert not free(tmp_path / LOCK)
    assert free(tmp_path / LOCK)


def test_who_waits_gets_the_very_file_that_was_held(tmp_path):
    def held() -> int:
        with folder_lock(tmp_path, "planning", wait=True):
            assert not free(tmp_path / LOCK), "another file has the name by now"
            return (tmp_path / LOCK).stat().st_ino

    with ThreadPoolExecutor(3) as threads:
        with folder_lock(tmp_path, "planning"):
            first = (tmp_path / LOCK).stat().st_ino
            waiting = [threads.submit(held) for _ in range(3)]
        assert {each.result(timeout=60) for each in waiting} == {first}


def test_a_folder_that_cannot_be_locked_is_not_busy():
    with pytest.raises(UserError, match=r"/proc/\.lock cannot be written") as caught:
        folder_lock(Path("/proc"), "filling").__enter__()
    assert not isinstance(caught.value, BusyError)


def test_a_folder_that_was_emptied_but_for_the_lock_is_free(tmp_path):
    """`rm -r out/*` leaves what begins with a dot."""
    (tmp_path / LOCK).touch()
    assert not has_plan(tmp_path, {})
    assert not configs.claimed(tmp_path / "config.json", {"seed": 0}, "run")
    assert run_folder.may_hold_exit(tmp_path, new=True)
