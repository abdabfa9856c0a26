"""Text in and out, the same in every locale: UTF-8 files of users, values of tables as text."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from avprep.shared.errors import UserError

FIRST_BYTES = 4096
LARGEST_EXACT = 2**53
"""up to here each whole number has a float of its own"""


def use_utf8() -> None:
    """Have this process, a command, take arguments and file names as UTF-8.

    Python reads them in the locale's encoding, which it cannot change once it runs: in a locale that is not UTF-8 the
    command is replaced by itself in Python's UTF-8 mode.
    """
    if sys.getfilesystemencoding() != "utf-8":
        words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, words, {**os.environ, "PYTHONUTF8": "1"})


def check_utf8(arguments: Sequence[str]) -> None:
    """Raise UserError where one is not UTF-8, as the names of some old files: Arrow takes no such path."""
    for argument in arguments:
        if not is_utf8(argument):
            raise UserError(f"The argument {os.fsencode(argument)!r} is not UTF-8; rename the file or folder.")


def print_anything() -> None:
    """Have standard output and error print the escape of a character that they cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A user's text file to be read line by line: UTF-8, with or without byte order mark; ends of lines as they are.

    Errors, also while the block reads: UserError where the file cannot be read, or is in another encoding.
    """
    try:
        with open(path, "rb") as file:
            first = file.peek(FIRST_BYTES)  # not read, so that the file may be a pipe
            if b"\0" in first or first[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise UserError(_advice(path, "UTF-16"))
            with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError:
        raise UserError(_advice(path, "")) from None
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None


def _advice(path: Path, encoding: str) -> str:
    what = f"is {encoding}" if encoding else "is not UTF-8"
    command = f"iconv -f {encoding.lower() or 'latin1'} -t utf-8 {path.name} > utf8-{path.name}"
    return f"{path} {what}; convert it to UTF-8, such as with: {command}"


def is_comment(line: str) -> bool:
    """Whether a line of a list or table is one; "#NAME?" is what spreadsheets make of ids that begin with '-'."""
    return line.startswith("#") and not line.startswith("#NAME?")


def as_text(value: Any, name: str, whole: bool = True) -> str:
    """A value of a table's column `name` as text, '' where it is null or NaN; 7.0 is '7'.

    Errors: ValueError where it is neither a string nor a number; where `whole`, also where it is a number with a
    fraction, or a float that is too large to be exact.
    """
    if isinstance(value, str):
        if not (value.isascii() or is_utf8(value)):
            raise ValueError(f"{name} {value!a} holds half a surrogate pair, which is no character")
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError(f"{name} is neither text nor a number: {value!r:.60}")
    if not whole or isinstance(value, int):
        return str(value)
    if value % 1:  # NaN for infinity
        raise ValueError(f"{name} {value} is not a whole number; store it as text")
    if isinstance(value, float) and abs(value) > LARGEST_EXACT:
        raise ValueError(f"{name} {value} is too large for a float to be exact; store it as text")
    return str(int(value))


def readable_bytes(count: float) -> str:
    """A number of bytes with three digits and a unit, such as `3.45 MB`; units are powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def is_utf8(text: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair, or a file name in another encoding, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
