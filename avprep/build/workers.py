"""Decoding in child processes that can be killed: one bad clip costs that clip, never the build.

The child decodes a clip and writes its tar members itself, at a given offset of a given file: no array crosses a pipe,
and the parent only learns where things lie (build/side_by_side.py). If the child dies, the parent cuts the file back to
that offset and goes on.

A child that exceeds `Limits.deadline_seconds` (120) is killed. The clip is tried once more; if it exceeds the deadline
again, it is a failure with the reason `deadline`.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from avprep.build.decoding import Outcome, mapped_bytes, serve
from avprep.build.fetch import fetched
from avprep.build.members import ClipRecord
from avprep.build.tasks import ClipTask, SamplesTask, SoundTask, Task
from avprep.config import Limits
from avprep.errors import RETRIED_REASONS, ClipError
from avprep.shared.caches import prepare_caches

if TYPE_CHECKING:
    from avprep.media.long import SoundRecord

START_SECONDS = 300
STARTS = 3
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
CLIPS_PER_PROCESS = 2000  # a decoder that leaks is replaced before it matters

log = logging.getLogger(__name__)
_environment_lock = threading.Lock()


class Workers:
    """`count` decoding processes, shared by as many threads; use as a context manager.

    Each is a child with a pipe of its own, so that whatever becomes of it, the one clip it held is known: a child
    that dies or outlives its deadline is replaced, one that died between two clips costs nothing.
    """

    def __init__(self, count: int, limits: Limits) -> None:
        prepare_caches(os.environ)
        if mapped_bytes() is None:
            log.warning("there is no /proc here, so decoding processes have no memory limit (--memory-bytes)")
        self._limits = limits
        self._idle: queue.Queue[_Child | None] = queue.Queue()
        for _ in range(count):
            self._idle.put(None)
        self._count, self._in_work, self._counting = count, 0, threading.Lock()
        self._threads = ThreadPoolExecutor(2 * count + 1, thread_name_prefix="clip")  # one shard more has a clip each

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._threads.shutdown()
        while not self._idle.empty():
            child = self._idle.get()
            if child is not None:
                child.end()

    def run(self, task: ClipTask) -> ClipRecord:
        """The record of a clip now in the tar; ClipError after the one retry that its reason allows."""
        return self._twice(task)

    def start(self, task: ClipTask) -> Future[ClipRecord]:
        """What run() will return or raise."""
        with self._counting:
            self._in_work += 1
        return self._threads.submit(self._counted, task)

    def spare(self) -> bool:
        """Whether fewer clips were started than there are processes."""
        return self._in_work < self._count

    def _counted(self, task: ClipTask) -> ClipRecord:
        try:
            return self.run(task)
        finally:
            with self._counting:
                self._in_work -= 1

    def log_mel(self, task: SoundTask) -> SoundRecord:
        """What is now in `task.out`. Errors: as run, and UserError where that cannot be written."""
        return self._twice(task)

    def samples(self, task: SamplesTask) -> int:
        """How many samples are now in `task.out`. Errors: as log_mel."""
        return self._twice(task)

    def _twice(self, task: Task) -> Any:
        with fetched(task) as near:
            try:
                return self._once(near)
            except ClipError as error:
                if error.reason not in RETRIED_REASONS:
                    raise
                return self._once(near)

    def _once(self, task: Task) -> Any:
        child = self._idle.get()
        try:
            if child is None or not child.alive() or child.tasks >= CLIPS_PER_PROCESS:
                if child is not None:
                    child.end()
                child = _started(self._limits.memory_bytes)
            outcome = child.call(task, self._limits.deadline_seconds)
        except BaseException:
            if child is not None:
                child.end()
            child = None
            raise
        finally:
            self._idle.put(child)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, tuple):
            raise ClipError(*outcome, task.clip.clip_id)
        return outcome


def _started(memory_bytes: int) -> _Child:
    """A child that is ready; one killed while it starts costs no clip, so it is tried again."""
    for _ in range(STARTS - 1):
        with contextlib.suppress(RuntimeError):
            return _Child(memory_bytes)
    return _Child(memory_bytes)


class _Child:
    """One decoding process and the pipe to it."""

    def __init__(self, memory_bytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, os.getpid(), memory_bytes), daemon=True)
        with _one_thread_each():
            self._process.start()
        theirs.close()
        self.tasks = 0
        if not self._pipe.poll(START_SECONDS):
            self.end()
            raise RuntimeError(f"a decoding process was not ready within {START_SECONDS} s")
        try:
            self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a decoding process could not start ({_how(self._process.exitcode)})") from None

    def alive(self) -> bool:
        """Whether the process can take a task."""
        return self._process.is_alive()

    def call(self, task: Task, deadline_seconds: float) -> Outcome:
        """What the child answers. Errors: ClipError deadline (the child is killed), crash."""
        self.tasks += 1
        try:
            self._pipe.send(task)
            if not self._pipe.poll(deadline_seconds):
                self.end()
                raise ClipError("deadline", f"more than {deadline_seconds:g} s", task.clip.clip_id)
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            how = _how(self._process.exitcode)
            raise ClipError("crash", f"the decoder ended with {how}", task.clip.clip_id) from None

    def end(self) -> None:
        """Kill the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """The environment of a process in which numpy, from its first import on, uses one thread."""
    with _environment_lock:
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"
