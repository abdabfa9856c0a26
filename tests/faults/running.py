"""Programs of ours as processes: started, waited for with a deadline, ended with all that is below them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tests.cluster.conftest import environ_of_ranks

DEADLINE_SECONDS = 180.0  # of whatever a trial waits for; an untouched build or run takes about ten
GONE_SECONDS = 20.0  # in which children of a killed process must be gone
SHOWN_CHARACTERS = 1500


class HungError(Exception):
    """Something was not over at its deadline."""


def program(name: str, *words: object) -> list[str]:
    """The command line of avprep or avtrain."""
    return [sys.executable, "-c", f"from {name}.cli import main; main()", *map(str, words)]


@contextlib.contextmanager
def running(command: list[str], log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that adds what it says to `log`; whatever is left of it and below it at the end is killed."""
    with open(log, "ab") as file:
        whole = environ_of_ranks() | environ
        process = subprocess.Popen(command, env=whole, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        for left in family(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The process and all below it, as far as they are alive."""
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        return [first, *first.children(recursive=True)]
    return []


def until(happened: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait for something to happen while a process is at work; whether it did. Errors: HungError."""
    limit = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        if process.poll() is not None:
            return happened()
        if time.monotonic() > limit:
            raise HungError(f"nothing happened within {DEADLINE_SECONDS:g} s: {said(log)}")
        time.sleep(0.005)
    return True


def code_of(process: subprocess.Popen[bytes], log: Path) -> int:
    """The exit code of a process. Errors: HungError."""
    try:
        return process.wait(DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        raise HungError(f"not over within {DEADLINE_SECONDS:g} s: {said(log)}") from None


def ends(process: subprocess.Popen[bytes], log: Path, *codes: int) -> int:
    """The exit code of a process, which must be one of `codes`. Errors: AssertionError, HungError."""
    code = code_of(process, log)
    assert code in codes, f"exit code {code}, not {codes}: {said(log)}"
    return code


def finish(command: list[str], log: Path, *codes: int, **environ: str) -> int:
    """Run a command to its end. Errors: as ends."""
    with running(command, log, **environ) as process:
        return ends(process, log, *codes)


def all_gone(processes: list[psutil.Process]) -> None:
    """Wait until processes are gone. Errors: AssertionError where one stays."""
    _, alive = psutil.wait_procs(processes, timeout=GONE_SECONDS)
    for process in alive:
        process.kill()
    assert not alive, f"{len(alive)} processes outlived the one that was killed"


def said(log: Path) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-SHOWN_CHARACTERS:]


def one_sentence(log: Path, word: str) -> None:
    """Check that a program said what is wrong, with this word, and no traceback. Errors: AssertionError."""
    told = log.read_text(errors="replace")
    assert any(line.startswith("error: ") and word in line for line in told.splitlines()), said(log)
    assert "Traceback" not in told, said(log)
