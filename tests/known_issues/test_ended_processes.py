"""Tests that look for processes do not fail on one that has ended and that nobody has waited for yet."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from tests.processes import processes_below


def test_a_zombie_is_not_among_the_processes_below():
    child = subprocess.Popen([sys.executable, "-c", "'the word we look for'"])
    limit = time.monotonic() + 60
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert processes_below(os.getpid(), "the word we look for") == []
    child.wait()
