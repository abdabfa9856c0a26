"""Child processes that live and die with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import TypeVar

from avprep.shared import streams
from avprep.shared.errors import Interrupted
from avprep.shared.signals import STOPPING

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")


def die_with_parent(parent_pid: int) -> None:
    """In a child: be killed when the thread that started it ends; leave signals that ask to stop to the parent.

    Those of a terminal and a scheduler reach all processes; SIGTERM to a child alone ends it. What a child prints into
    a closed pipe is no failure of its work.
    """
    streams.guard()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def map_processes(
    function: Callable[[Item], Result], items: list[Item], workers: int, stopping: Callable[[], bool]
) -> Iterator[Result]:
    """Results of function(item) as they come, from `workers` spawned processes that die with this one.

    Once `stopping()` the processes are ended at once and Interrupted is raised: items must be safe to kill.
    """
    if not items:
        return
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        min(workers, len(items)), mp_context=context, initializer=die_with_parent, initargs=(os.getpid(),)
    ) as pool:
        running = {pool.submit(function, item) for item in items}
        while running:
            done, running = wait(running, POLL_SECONDS, FIRST_COMPLETED)
            if stopping():
                for child in set(multiprocessing.active_children()) - before:
                    child.kill()
                pool.shutdown(cancel_futures=True)
                raise Interrupted("what is finished is kept; the same command goes on from there")
            for future in done:
                yield future.result()
