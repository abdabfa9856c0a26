"""Processes that map jobs: results, a prompt stop, nothing left behind when the parent is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from avprep.shared.errors import Interrupted
from avprep.shared.processes import map_processes
from tests.processes import DECODER, processes_below


def test_results_come_as_they_are_done():
    assert sorted(map_processes(abs, [-3, -2, -1], 2, lambda: False)) == [1, 2, 3]
    assert list(map_processes(abs, [], 2, lambda: False)) == []


@pytest.mark.slow
def test_stopping_ends_running_jobs_at_once():
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        list(map_processes(time.sleep, [600, 600, 600], 2, lambda: time.monotonic() > begin + 3))
    assert time.monotonic() < begin + 60
    assert not processes_below(os.getpid(), DECODER)


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
