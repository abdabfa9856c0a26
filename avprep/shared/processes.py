"""Child processes that live and die with their parent."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from avprep.shared import streams
from avprep.shared.errors import Interrupted, UserError
from avprep.shared.signals import STOPPING

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5
STARTS = 4
"""so often processes are started, where one of them is killed"""

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)
_number: int | None = None


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


def worker_number() -> int | None:
    """Which of the processes of `map_processes` this one is, from 0; None in any other."""
    return _number


def map_processes(
    function: Callable[[Item], Result], items: list[Item], workers: int, stopping: Callable[[], bool]
) -> Iterator[Result]:
    """Results of function(item) as they come, from `workers` spawned processes that die with this one.

    Once `stopping()`, or where the caller goes no further, the processes are ended at once: items must be safe to kill.
    What one that is killed had in work is done again. Errors: Interrupted once `stopping()`; UserError where processes
    are killed again and again; what `function` raises.
    """
    left = dict(enumerate(items))
    for start in range(STARTS):
        try:
            for number, result in _pooled(function, left, workers, stopping):
                del left[number]
                yield result
            return
        except _KilledError:
            if start < STARTS - 1:
                log.warning("a process was killed, as when memory runs out; what it had in work is done again")
    raise UserError(
        "Processes were killed again and again, as they are when memory runs out; use fewer of them, and repeat."
    )


class _KilledError(Exception):
    """A signal has ended a process of a pool."""


def _pooled(
    function: Callable[[Item], Result], items: Mapping[int, Item], workers: int, stopping: Callable[[], bool]
) -> Iterator[tuple[int, Result]]:
    """(key, result) of items as they come, from one pool. Errors: as map_processes; _KilledError."""
    if not items:
        return
    context = multiprocessing.get_context("spawn")
    count, before = min(workers, len(items)), set(multiprocessing.active_children())
    numbers = context.SimpleQueue()
    for number in range(count):
        numbers.put(number)
    with (
        tempfile.TemporaryDirectory(prefix="avprep-", ignore_cleanup_errors=True) as folder,
        ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin, initargs=(os.getpid(), numbers, folder)
        ) as pool,
    ):
        keys = {pool.submit(function, item): key for key, item in items.items()}
        children, running = set(multiprocessing.active_children()) - before, set(keys)
        try:
            while running:
                done, running = wait(running, POLL_SECONDS, FIRST_COMPLETED)
                if stopping():
                    raise Interrupted("what is finished is kept; the same command goes on from there")
                for future in done:
                    yield keys[future], future.result()
        except BaseException as error:
            for child in children:
                child.kill()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool) and all((child.exitcode or 0) <= 0 for child in children):
                raise _KilledError from None
            raise


def _begin(parent_pid: int, numbers: Any, folder: str) -> None:
    """In a process of a pool: its number, and a folder for temporary files that the parent removes."""
    global _number
    die_with_parent(parent_pid)
    _number = numbers.get()
    tempfile.tempdir = folder
