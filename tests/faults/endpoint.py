"""An S3 endpoint on loopback whose answers are slow, fail, are cut in the middle, or never come."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.train.servers import Bucket

PROGRAM = "aiobotocore"  # what the programs under test talk by; the campaign's own requests are served as they are
Weather = Callable[[str], str]


class Unsteady(Bucket):
    """A Bucket that asks `weather` of the method of each request of a program how to serve it.

    "" as it should be, "slow" after a while, "500", "cut" (the connection is dropped in the middle of what is sent, or
    of the answer), "hold" (so, but only once `go_on`; `holding` meanwhile).
    """

    def __init__(self, name: str, draw: random.Random) -> None:
        super().__init__(name)
        self.draw, self.slow_seconds, self.faults = draw, 1.0, 0
        self.weather: Weather = lambda _method: ""
        self._lock = threading.Lock()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if PROGRAM not in environ.get("HTTP_USER_AGENT", ""):
            return super()._answer(environ, start_response)
        with self._lock:
            how, share = self.weather(environ["REQUEST_METHOD"]), self.draw.random()
            self.faults += bool(how)
        if how == "slow":
            time.sleep(share * self.slow_seconds)
        elif how == "500":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        elif how in ("cut", "hold") and environ["REQUEST_METHOD"] == "PUT":
            environ["wsgi.input"].read(int(share * int(environ["CONTENT_LENGTH"])))
            if how == "hold":
                go_on = self.go_on
                self.holding.set()
                go_on.wait()
            raise _cut(environ)
        answer = b"".join(super()._answer(environ, start_response))
        return _part(answer, share, environ) if how == "cut" else [answer]


def _part(answer: bytes, share: float, environ: dict[str, Any]) -> Iterable[bytes]:
    """A part of an answer, and then no more."""
    yield answer[: int(share * len(answer))]
    raise _cut(environ)


def _cut(environ: dict[str, Any]) -> ConnectionError:
    """What ends the answer to a request whose connection is gone now."""
    with contextlib.suppress(OSError):  # the client was first
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return ConnectionError("cut in the middle")
