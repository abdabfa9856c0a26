"""Faults of the machine: a disk that is full, a clock that jumps."""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
LONGEST_JUMP_SECONDS = 10 * 86400
BETWEEN_JUMPS_SECONDS = 0.05, 0.5


@dataclass(frozen=True)
class Disk:
    """A small disk, mounted."""

    folder: Path

    def grow(self, size_bytes: int) -> None:
        """Make room, as an operator would."""
        subprocess.run(["mount", "-o", f"remount,size={size_bytes}", self.folder], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Disk]:
    """A disk of its own at `folder`. Errors: OSError where this machine does not let us mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@functools.cache
def no_disk() -> str:
    """Why no small disk can be mounted here, '' if one can."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(small_disk(Path(folder) / "disk", 1 << 16))
        except OSError as error:
            return f"no tmpfs can be mounted ({error})"
    return ""


class Clock:
    """The wall clock of the programs that have `environ`; the one that only counts on is as it was."""

    def __init__(self, folder: Path) -> None:
        library, self._file, self.jumps = folder / "clock.so", folder / "ahead", 0
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_AHEAD_SECONDS": str(self._file)}
        self._file.write_bytes(struct.pack("q", 0))

    def set(self, ahead_seconds: int) -> None:
        """Have it go so far ahead of this machine's, or behind; at once, in all of them."""
        with open(self._file, "r+b", buffering=0) as file:
            file.write(struct.pack("q", ahead_seconds))
        self.jumps += 1


@contextlib.contextmanager
def jumping_clock(folder: Path, draw: random.Random) -> Iterator[Clock]:
    """A clock that jumps back and forth meanwhile, several times a second."""
    clock, over = Clock(folder), threading.Event()

    def jump() -> None:
        while not over.wait(draw.uniform(*BETWEEN_JUMPS_SECONDS)):
            clock.set(draw.randint(-LONGEST_JUMP_SECONDS, LONGEST_JUMP_SECONDS))

    thread = threading.Thread(target=jump, daemon=True)
    thread.start()
    try:
        yield clock
    finally:
        over.set()
        thread.join()


@functools.cache
def no_clock() -> str:
    """Why no clock can be made to jump here, '' if one can."""
    if shutil.which("cc") is None:
        return "no C compiler"
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock(Path(folder))
        clock.set(-LONGEST_JUMP_SECONDS)
        command = [sys.executable, "-c", "import os, time; print(os.stat('/proc/self').st_ctime - time.time())"]
        done = subprocess.run(command, env=clock.environ, capture_output=True, text=True, check=True)
    return "" if float(done.stdout) > LONGEST_JUMP_SECONDS / 2 else "programs here do not take their clock from libc"
