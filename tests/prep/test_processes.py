"""Processes that map jobs: results, a prompt stop, nothing left behind when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from avprep.shared.errors import Interrupted, UserError
from avprep.shared.processes import map_processes, worker_number
from tests.processes import DECODER, processes_below


def test_results_come_as_they_are_done():
    assert sorted(map_processes(abs, [-3, -2, -1], 2, lambda: False)) == [1, 2, 3]
    assert list(map_processes(abs, [], 2, lambda: False)) == []


def killed(once: Path) -> tuple[str, int | None]:
    """The file's name, and the number of this process, which is killed where the file is not there yet."""
    if once.suffix == ".kill" and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return once.name, worker_number()


@pytest.mark.slow
def test_what_a_killed_process_had_in_work_is_done_again(tmp_path, caplog):
    items = [tmp_path / name for name in ("a", "b", "c.kill", "d", "e")]
    done = dict(map_processes(killed, items, 2, lambda: False))
    assert sorted(done) == ["a", "b", "c.kill", "d", "e"]
    assert set(done.values()) <= {0, 1}
    assert "a process was killed" in caplog.text
    assert worker_number() is None


def kill(_item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_are_always_killed_are_a_sentence(monkeypatch):
    monkeypatch.setattr("avprep.shared.processes.STARTS", 2)
    with pytest.raises(UserError, match=r"killed again and again, .* use fewer of them"):
        list(map_processes(kill, [1], 1, lambda: False))


def test_who_takes_no_more_leaves_no_process():
    results = map_processes(time.sleep, [0, 600, 600], 2, lambda: False)
    next(results)
    results.close()
    assert not processes_below(os.getpid(), DECODER)


@pytest.mark.slow
def test_stopping_ends_running_jobs_at_once():
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        list(map_processes(time.sleep, [600, 600, 600], 2, lambda: time.monotonic() > begin + 3))
    assert time.monotonic() < begin + 60
    assert not processes_below(os.getpid(), DECODER)


@pytest.mark.slow
def test_a_killed_parent_leaves_no_process():
    script = (
        "import time; from avprep.shared.processes import map_processes\n"
        "if __name__ == '__main__': list(map_processes(time.sleep, [600] * 4, 2, lambda: False))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    limit = time.monotonic() + 60
    while len(workers := processes_below(parent.pid, DECODER)) < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)
    time.sleep(1)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
