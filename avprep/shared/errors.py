"""The exceptions that a command turns into exit codes of their own; everything else is our failure."""

from __future__ import annotations


class UserError(Exception):
    """One plain sentence for the user: what is wrong, which file, what to do next (exit code 2)."""


class BusyError(UserError):
    """Another process holds what this one needs; it may be free later."""


SHOWN_PROBLEMS = 20


def listed(problems: list[str]) -> str:
    """Problems as the lines below a sentence that ends in a colon: the first 20, then how many more."""
    more = len(problems) - SHOWN_PROBLEMS
    shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN_PROBLEMS])
    return shown + (f"\n  and {more} more" if more > 0 else "")


def some_of(names: list[str], most: int = 3) -> str:
    """Names for a sentence: the first few, then how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not empty; the name of its class where there is none."""
    lines = (line.strip() for line in str(error).split("\n"))
    return next(filter(None, lines), type(error).__name__)


class Interrupted(Exception):  # noqa: N818 - it is an outcome, not a fault
    """The work stopped on request and the same command resumes it (exit code 75)."""
