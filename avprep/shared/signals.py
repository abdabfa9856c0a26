"""Signals that ask a command to stop: those of terminals, schedulers and torchrun, all to the same end.

SIGUSR1 is the warning that Slurm users ask for (--signal=USR1@60), SIGHUP comes when a terminal closes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
MAY_BE_IGNORED = (signal.SIGHUP, signal.SIGUSR1)
"""what a parent, such as nohup, had ignored stays ignored"""


class StopRequest:
    """Becomes true once one of the signals STOPPING has arrived.

    Schedulers and torchrun send SIGTERM more than once: again, it changes nothing. A second SIGINT, from somebody at a
    terminal, raises KeyboardInterrupt, unless `patient`: under torchrun, Ctrl-C comes twice as well.
    """

    def __init__(self, patient: bool = False) -> None:
        self.name: str | None = None
        self._patient = patient

    def __bool__(self) -> bool:
        return self.name is not None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name


@contextlib.contextmanager
def stop_on_signals(patient: bool = False) -> Iterator[StopRequest]:
    """A StopRequest that listens while the block runs (in the main thread; elsewhere it never fires).

    Where it has fired, the process ignores all those signals from then on, so that a late one cannot change its exit
    code.
    """
    request = StopRequest(patient)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = _handled(STOPPING, request.handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if request else handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While the block runs, the first of STOPPING raises KeyboardInterrupt, where the work does not see to it itself.

    Others of them but SIGINT change nothing from then on: files are still being tidied away.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = tuple(number for number in STOPPING if number != signal.SIGINT)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        _handled(others, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = _handled(others, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) == interrupt:
                signal.signal(number, handler)


def _handled(numbers: Sequence[signal.Signals], handler: Any) -> dict[signal.Signals, Any]:
    """Set the handler of the signals that may be handled; their handlers before."""
    ignored = {number for number in MAY_BE_IGNORED if signal.getsignal(number) == signal.SIG_IGN}
    return {number: signal.signal(number, handler) for number in numbers if number not in ignored}
