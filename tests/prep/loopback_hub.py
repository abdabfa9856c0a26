"""The part of the Hugging Face hub that an upload uses, on loopback: repositories, trees, LFS objects, commits."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_of_the_test"
LARGE = (".tar", ".npy", ".parquet")
"""endings of files that are LFS objects, as in the hub's own .gitattributes"""


class LoopbackHub:
    """Datasets by ORG/NAME: files, commits (names of the files of each), bodies of requests to make one."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: list[list[str]] = []
        self.created: list[dict[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.uploaded: list[str] = []
        """digests of the objects that were sent"""
        self.commits_left = 10**6
        """so many commits succeed, the next get HTTP 500"""
        self.endpoint = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """(status, JSON) of a request."""
        words = path.strip("/").split("/")
        if method == "PUT" and words[0] == "objects":
            assert hashlib.sha256(body).hexdigest() == words[1]
            self.objects[words[1]] = body
            self.uploaded.append(words[1])
            return 200, {}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            values = json.loads(body)
            name = f"{values['organization']}/{values['name']}"
            page = {"url": f"{self.endpoint}/datasets/{name}"}
            if name in self.files:
                return 409, page | {"error": "You already created this dataset repo"}
            self.created.append(values)
            self.files[name] = {".gitattributes": b""}
            return 200, page
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": list(map(self._object, json.loads(body)["objects"]))}
        name = "/".join(words[2:4])
        if words[:2] != ["api", "datasets"] or name not in self.files:
            return 404, {"error": "Repository not found"}
        return getattr(self, f"_{words[4]}")(name, body)

    def _object(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] in self.objects:
            return wanted
        return wanted | {"actions": {"upload": {"href": f"{self.endpoint}/objects/{wanted['oid']}"}}}

    def _tree(self, name: str, _body: bytes) -> tuple[int, Any]:
        entries: list[dict[str, Any]] = [{"type": "directory", "path": "shards", "oid": "0" * 40, "size": 0}]
        for path, data in self.files[name].items():
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": oid}
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        return 200, entries

    def _preupload(self, _name: str, body: bytes) -> tuple[int, Any]:
        paths = [one["path"] for one in json.loads(body)["files"]]
        modes = [
            {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}
            for path in paths
        ]
        return 200, {"files": modes}

    def _commit(self, name: str, body: bytes) -> tuple[int, Any]:
        if self.commits_left <= 0:
            return 500, {"error": "Internal Error"}
        self.commits_left -= 1
        lines = [json.loads(line) for line in body.splitlines()]
        added = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                added[value["path"]] = self.objects[value["oid"]]
        self.files[name].update(added)
        self.commits.append(list(added))
        return 200, {"commitUrl": f"{self.endpoint}/datasets/{name}/commit/1", "commitOid": "1" * 40}


@contextlib.contextmanager
def served() -> Iterator[LoopbackHub]:
    """A hub that answers at its `endpoint` while the block runs."""
    hub = LoopbackHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self._body()
            path = urlsplit(self.path).path
            status, value = 401, {"error": "Invalid credentials"}
            if self.headers.get("Authorization") == f"Bearer {TOKEN}" or path.startswith("/objects/"):
                status, value = hub.answer(self.command, path, body)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_HEAD = _respond  # noqa: N815 - names of the base class

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
