"""The two exceptions that a command turns into an exit code of its own; everything else is our failure."""

from __future__ import annotations


class UserError(Exception):
    """One plain sentence for the user: what is wrong, which file, what to do next (exit code 2)."""


class Interrupted(Exception):  # noqa: N818 - it is an outcome, not a fault
    """The work stopped on request and the same command resumes it (exit code 75)."""
