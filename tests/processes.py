"""The processes below another one, as the tests look for them."""

from __future__ import annotations

import contextlib

import psutil

DECODER = "spawn_main"
"""What stands in the command line of a decoding process."""


def processes_below(pid: int, word: str) -> list[psutil.Process]:
    """The processes anywhere below `pid` whose command line has `word`, without those that have just ended."""
    living = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie's command line cannot be read either
                if word in " ".join(child.cmdline()):
                    living.append(child)
    return living
