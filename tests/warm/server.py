"""`python -m tests.warm.server FD`: imports what commands import, once, and forks a process for each client.

Between it and the command stands a process that passes signals on and hands back the exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing.context
import os
import runpy
import select
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from avprep.shared import processes
from tests.warm.client import PASSED_ON, POOLS

LOADED = (
    "avprep.cli",
    "avprep.build.run",
    "avtrain.cli",
    "avtrain.evaluation.evaluate",
    "avtrain.evaluation.knn",
    "avtrain.report",
    "avtrain.reproduce.av_digits.run",
    "avtrain.reproduce.demo",
    "avtrain.training.every_run",
    "avtrain.training.pretrain",
    "pytest",
    "torch._dynamo",
    "torch.distributed.run",
)


class _Forking:
    """In the place of `multiprocessing` where map_processes spawns its workers: they are forked too."""

    active_children = staticmethod(multiprocessing.active_children)

    @staticmethod
    def get_context(_method: str) -> multiprocessing.context.BaseContext:
        return multiprocessing.get_context("fork")


def serve(listener: socket.socket) -> Callable[[], None] | None:
    """None once standard input has ended; in a forked process, what it is to run."""
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return None
        link, _ = listener.accept()
        if not os.fork():
            listener.close()
            return _between(link)
        link.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                pass


def _between(link: socket.socket) -> Callable[[], None]:
    """In the command, what it is to run; the process above it does not return."""
    length, streams, _, _ = socket.recv_fds(link, 8, 3)
    with link.makefile("rb") as lines:
        asked = json.loads(lines.read(int.from_bytes(length, "big")))
    command = os.fork()
    if not command:
        link.close()
        return lambda: _become(asked, streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(command)
    while ended not in (ready := select.select([link, ended], [], [])[0]):
        for number in (ready and link.recv(64)) or [signal.SIGKILL]:  # nothing more to read: the client is gone
            signal.pidfd_send_signal(ended, number)
            if number == signal.SIGKILL:
                os.waitpid(command, 0)
                os._exit(0)
    _, status = os.waitpid(command, 0)
    link.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
    os._exit(0)


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Run the command's words as Python would."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # anew, since those of the server have asked what kind of file they are
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    if os.environ.pop(POOLS, None):
        processes.multiprocessing = _Forking
    for number in PASSED_ON:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in asked["ignored"] else usual)
    first, *rest = asked["words"]
    if first == "-m":
        sys.argv = rest
        sys.path.insert(0, "")
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if first == "-c":
        sys.argv, source, name = ["-c", *rest[1:]], rest[0], "<string>"
        sys.path.insert(0, "")
    else:
        sys.argv, name = [first, *rest], os.path.abspath(first)
        main.__file__ = name
        sys.path.insert(0, os.path.dirname(name))
        with open(name, encoding="utf-8") as text:
            source = text.read()
    exec(compile(source, name, "exec"), main.__dict__)


def _end_after(run: Callable[[], None]) -> None:
    """End as Python does after `run`, but for taking all modules to pieces, which takes a second or two."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(BrokenPipeError):
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    gc.disable()
    for each in LOADED:
        importlib.import_module(each)
    gc.enable()
    gc.collect()
    gc.freeze()
    run = serve(socket.socket(fileno=int(sys.argv[1])))
    if run:
        _end_after(run)
