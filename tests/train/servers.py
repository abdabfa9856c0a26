"""Real servers on loopback: HTTP with ranges and faults to order, and an S3 endpoint."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import pytest


class FileServer(ThreadingHTTPServer):
    """Serves `folder`. `faults` are taken one a matching GET: "503", "reset", "short" (fewer bytes than promised),
    "fewer" (a whole answer of fewer bytes than asked), "slow" (waits `slow_seconds`); `latency_seconds` before each."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faults: list[str] = []
        self.faulty = ".tar"
        self.slow_seconds = 3.0
        self.latency_seconds = 0.0
        self.honours_ranges = True
        self.lock = threading.Lock()
        self.sent: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.agents: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(6, 1, 1)  # TCP_NODELAY

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.server.folder / self.path.lstrip("/")
        with self.server.lock:
            self.server.requests[self.path] += 1
            fault = self.server.faults.pop(0) if body and self.server.faulty in self.path and self.server.faults else ""
        time.sleep(self.server.latency_seconds + (self.server.slow_seconds if fault == "slow" else 0))
        if fault == "reset":
            self.close_connection = True
            return
        if fault == "503" or not path.is_file():
            self._head(503 if fault else 404, 0)
            return
        size = path.stat().st_size
        begin, end, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and self.server.honours_ranges:
            begin, end, status = int(asked[1]), min(int(asked[2]) + 1, size), 206
            if begin >= size:
                self._head(416, 0)
                return
        end -= (end - begin) // 2 if fault == "fewer" else 0
        self._head(status, end - begin)
        if body:
            with open(path, "rb") as file:
                file.seek(begin)
                data = file.read(end - begin)
            if fault == "short":
                data, self.close_connection = data[: len(data) // 2], True
            with self.server.lock:
                self.server.sent[self.path] += len(data)
            self.wfile.write(data)

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """A FileServer of `folder` in a thread of its own."""
    server = FileServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Bucket:
    """A bucket of an S3 endpoint on loopback. PUTs to a path that ends in `held` wait, once `holding`, for `go_on`."""

    SECRET = "sEcReTsEcReT"

    def __init__(self, name: str) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.name, self.held = name, ""
        self.holding, self.go_on = threading.Event(), threading.Event()
        self._app = DomainDispatcherApplication(create_backend_app)
        self.server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.environ = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": self.SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _answer(self, environ: dict, start_response: object) -> object:
        if self.held and environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(self.held):
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]) // 2)
            go_on = self.go_on
            self.holding.set()
            go_on.wait()
            raise ConnectionError("the client was killed while it sent")
        return self._app(environ, start_response)

    def files(self, below: str = "") -> dict[str, bytes]:
        """The objects of the bucket by what follows `below` in their names."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=below)
        names = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        get = self.client.get_object
        return {name[len(below) :]: get(Bucket=self.name, Key=name)["Body"].read() for name in names}

    def put(self, path: Path, name: str) -> None:
        """Put a file there."""
        self.client.upload_file(str(path), self.name, name)

    def released(self) -> None:
        """Let go of what is held, whose sender is gone, and hold no more."""
        self.held = ""
        self.go_on.set()
        self.holding, self.go_on = threading.Event(), threading.Event()


AnyBucket = TypeVar("AnyBucket", bound=Bucket)


@contextlib.contextmanager
def bucket_serving(name: str, kind: Callable[[str], AnyBucket] = Bucket) -> Iterator[AnyBucket]:
    """A Bucket, to which the environment leads meanwhile."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()  # they know the endpoint of an earlier one
    bucket = kind(name)
    thread = threading.Thread(target=bucket.server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for key, value in bucket.environ.items():
            patch.setenv(key, value)
        bucket.client = boto3.client("s3")
        urllib.request.urlopen(urllib.request.Request(f"{bucket.url}/moto-api/reset", method="POST")).close()
        bucket.client.create_bucket(Bucket=name)
        try:
            yield bucket
        finally:
            bucket.go_on.set()
            bucket.server.shutdown()
            thread.join()
