"""What the errors of servers mean: try again, or a sentence for the user, without a text that may hold a URL."""

from __future__ import annotations

import asyncio

from avprep.shared.errors import UserError

CLIENTS = ("aiohttp", "botocore", "aiobotocore", "gcsfs", "azure", "huggingface_hub")  # their errors are no OSErrors
PASSING = (408, 425, 429)  # as is all from 500 on
GONE = {404: "no such file", 410: "gone (HTTP 410)", 451: "withheld for legal reasons (HTTP 451)"}


class ShortAnswerError(OSError):
    """Fewer bytes than were asked for."""


class GoneError(FileNotFoundError):
    """A file that its server does not have, by its address; `why` as the server reports it."""

    def __init__(self, address: str, why: str = GONE[404]) -> None:
        super().__init__(address)
        self.why = why


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of an error, or of one that caused it."""
    while error is not None:
        response = getattr(error, "response", None)
        known = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        status = getattr(error, "status", None) or known.get("HTTPStatusCode") or getattr(response, "status_code", None)
        if status is None and type(error).__module__.startswith("gcsfs"):
            status = getattr(error, "code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None


def passing_reason(path: object, error: BaseException, verb: str) -> str:
    """Why another attempt may help, without the text of an error that may hold a URL; else raises the error to report.

    `path` as messages show it; `verb` is what was tried: `read` or `written`.
    """
    if isinstance(error, UserError):
        raise error
    status, name = _status(error), type(error).__name__
    if status is not None:
        if status in PASSING or status >= 500:
            return f"HTTP {status}"
        raise _final(path, status, verb) from None
    if isinstance(error, FileNotFoundError):
        if error.__cause__ is None:
            raise _final(path, 404, verb) from None
        return passing_reason(path, error.__cause__, verb)
    if isinstance(error, PermissionError) or "Credentials" in name:
        raise _final(path, 403, verb) from None
    if isinstance(error, ShortAnswerError):
        return str(error)
    if isinstance(error, (OSError, asyncio.TimeoutError)) or type(error).__module__.split(".")[0] in CLIENTS:
        return name
    raise error


def _final(path: object, status: int, verb: str) -> Exception:
    """The error of an HTTP status that will stay."""
    if status in GONE:
        return GoneError(str(path), GONE[status])
    if status in (401, 403):
        return UserError(f"{path} is refused; give this machine credentials by which it may be {verb}.")
    if status == 416:
        return UserError(f"{path} is shorter than in its index; copy it there again.")
    return UserError(f"{path} cannot be {verb} (HTTP {status}).")
