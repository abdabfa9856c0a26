"""Standard output and error that may be closed, full, or cut off by their reader: writing to them never ends the work.

What could not be written is remembered, so that a command whose result was lost does not end with exit code 0.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any

DESCRIPTORS = (0, 1, 2)


class Patient:
    """A stream, or None where there is none, whose first failure is kept; nothing is written after it."""

    failure: OSError | None = None

    def __init__(self, stream: Any, owner: Patient | None = None) -> None:
        self._stream, self._owner = stream, owner or self

    def write(self, text: Any) -> int:
        """As the stream's own; a failure is no error."""
        if self._stream is None:
            if text and self._owner.failure is None:
                self._owner.failure = OSError(errno.EBADF, "it is closed")
        elif self._owner.failure is None:
            try:
                self._stream.write(text)
            except UnicodeError:
                raise
            except (OSError, ValueError) as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """As the stream's own; a failure is no error."""
        if self._stream is not None and self._owner.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    @property
    def buffer(self) -> Patient:
        """The stream of bytes, of whose failures this one knows."""
        return Patient(self._stream.buffer, self._owner)

    def isatty(self) -> bool:
        """Whether a person may be reading."""
        with contextlib.suppress(ValueError, AttributeError):
            return bool(self._stream.isatty())
        return False

    def _fail(self, error: OSError | ValueError) -> None:
        """Keep the failure; what the stream still holds goes nowhere, or the interpreter would fail at its end."""
        self._owner.failure = error if isinstance(error, OSError) else OSError(errno.EBADF, "it is closed")
        with contextlib.suppress(OSError, ValueError, AttributeError):
            number = self._stream.fileno()
            if number in DESCRIPTORS:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def hold_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed: a data file would get the number, and messages with it."""
    for number in DESCRIPTORS:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free


def guard() -> tuple[Patient, Patient]:
    """Patient standard output and error, from now on those of `sys`."""
    hold_descriptors()
    output, errors = Patient(sys.stdout), Patient(sys.stderr)
    sys.stdout, sys.stderr = output, errors
    return output, errors


@contextlib.contextmanager
def guarded() -> Iterator[Patient]:
    """Standard output, which as standard error is patient while the block runs."""
    before = sys.stdout, sys.stderr
    output, errors = guard()
    try:
        yield output
        output.flush()
        errors.flush()
    finally:
        sys.stdout, sys.stderr = before
