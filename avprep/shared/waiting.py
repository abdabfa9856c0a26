"""That a command goes on, while one step takes long of which nobody knows how long."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import click

from avprep.shared.commands import PLAIN_LINE_SECONDS, duration

FROM_SECONDS = 2.0
CLOCK = "{desc}: {elapsed}"


def is_quiet() -> bool:
    """Whether -q leaves out progress."""
    return logging.getLogger("avprep").level > logging.INFO


def on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def waiting(title: str, quiet: bool = False, every_seconds: float = PLAIN_LINE_SECONDS) -> Iterator[None]:
    """While the block runs, the time that it has taken: a clock on a terminal from 2 s on, else a line every 10 s.

    On standard error, or nowhere if `quiet` or after -q.
    """
    if quiet or is_quiet():
        yield
        return
    done = threading.Event()
    show = _clock if on_terminal() else _lines
    thread = threading.Thread(target=show, args=(title, done, every_seconds), name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _lines(title: str, done: threading.Event, every_seconds: float) -> None:
    begin = time.monotonic()
    while not done.wait(every_seconds):
        click.echo(f"{title}: {duration(time.monotonic() - begin)} so far", err=True)


def _clock(title: str, done: threading.Event, _every_seconds: float) -> None:
    from tqdm import tqdm

    begin = time.time()
    if done.wait(FROM_SECONDS):
        return
    bar: Any
    with tqdm(desc=title, bar_format=CLOCK, leave=False) as bar:
        bar.start_t = begin  # as tqdm counts
        while not done.wait(1.0):
            bar.refresh()
