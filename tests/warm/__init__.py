"""Python commands that start without their imports: forked from one process that has torch and both packages loaded.

A command that trains spends three to five seconds of processor time on imports alone. `python()` stands for
sys.executable before `-c CODE`, `-m MODULE` or a file; `tools()` is a folder of the console scripts. Folder,
environment, streams, signals and exit code are those of any command. A signal passes through the process that stands
in for it and comes a moment later, kill -9 too: wait for `all_gone`, read its streams to their end, or signal the
process id that the command prints itself. Not for tests of imports, of other users or of namespaces.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import select
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.warm.client import PARENT, POOLS

__all__ = ["PARENT", "POOLS", "all_gone", "python", "tools"]

CLIENT = REPOSITORY / "tests" / "warm" / "client.py"
PROGRAMS = {
    "avprep": "from avprep.cli import main; main(prog_name='avprep')",
    "avtrain": "from avtrain.cli import main; main(prog_name='avtrain')",
    "torchrun": "from torch.distributed.run import main; main()",
}
GONE_SECONDS = 120


@functools.cache
def python() -> list[str]:
    """The words that stand for sys.executable; the first call starts the server, which ends with this process."""
    address = str(_folder() / "socket")
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm.server", str(listener.fileno())],
            cwd=REPOSITORY, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()], start_new_session=True,
        )  # fmt: skip
    atexit.register(server.communicate)
    return [sys.executable, "-I", "-S", str(CLIENT), address]


@functools.cache
def tools() -> Path:
    """A folder with `avprep`, `avtrain` and `torchrun`, to stand first in PATH."""
    folder = _folder()
    for name, code in PROGRAMS.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join([*python(), "-c", code])} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@contextlib.contextmanager
def all_gone() -> Iterator[int]:
    """A stream to start commands with as their standard input; the block ends once all that have it have ended."""
    end, stream = os.pipe()
    try:
        yield stream
    finally:
        os.close(stream)
        assert select.select([end], [], [], GONE_SECONDS)[0], "a command outlives its end"
        os.close(end)


def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
