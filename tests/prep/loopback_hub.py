"""The part of the Hugging Face hub that up- and downloads use, on loopback: repositories, trees, commits, files."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

TOKEN = "hf_of_the_test"
LARGE = (".tar", ".npy", ".parquet", ".safetensors", ".onnx")
"""endings of files that are LFS objects, as in the hub's own .gitattributes"""


class LoopbackHub:
    """Datasets and models by ORG/NAME: files, commits (names of the files of each), bodies of requests to make one."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: list[list[str]] = []
        self.created: list[dict[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.uploaded: list[str] = []
        """digests of the objects that were sent"""
        self.fetched: list[str] = []
        """names of the files that were asked for"""
        self.commits_left = 10**6
        """so many commits succeed, the next get HTTP 500"""
        self.endpoint = ""
        self.states: dict[str, dict[str, dict[str, bytes]]] = {}
        """the files of each repository after each commit, by its name"""

    def commit(self, name: str) -> str:
        """Take the files of a repository as they are for a commit, and return its name."""
        files = self.files[name]
        oid = hashlib.sha1(b"".join(path.encode() + data for path, data in sorted(files.items()))).hexdigest()
        self.states.setdefault(name, {})[oid] = dict(files)
        return oid

    def resolve(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """(status, bytes, headers) of a request for a file of a model: /ORG/NAME/resolve/REVISION/PATH."""
        org, name, _, revision, *words = path.strip("/").split("/")
        repository, wanted = f"{org}/{name}", "/".join(words)
        if repository not in self.files:
            return 404, b"", {"X-Error-Code": "RepoNotFound"}
        oid = self.commit(repository) if revision == "main" else revision
        files = self.states[repository].get(oid)
        if files is None:
            return 404, b"", {"X-Error-Code": "RevisionNotFound"}
        if wanted not in files:
            return 404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": oid}
        self.fetched.append(wanted)
        etag = hashlib.sha256(files[wanted]).hexdigest()
        return 200, files[wanted], {"X-Repo-Commit": oid, "ETag": f'"{etag}"'}

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
            kind = "datasets/" if values.get("type") == "dataset" else ""
            page = {"url": f"{self.endpoint}/{kind}{name}"}
            if name in self.files:
                return 409, page | {"error": "You already created this dataset repo"}
            self.created.append(values)
            self.files[name] = {".gitattributes": b""}
            return 200, page
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": list(map(self._object, json.loads(body)["objects"]))}
        name = "/".join(words[2:4])
        if words[0] != "api" or words[1] not in ("datasets", "models") or name not in self.files:
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
            status, value, headers = 401, json.dumps({"error": "Invalid credentials"}).encode(), {}
            if self.headers.get("Authorization") == f"Bearer {TOKEN}" or path.startswith("/objects/"):
                if "/resolve/" in path:
                    status, value, headers = hub.resolve(path)
                else:
                    status, plain = hub.answer(self.command, path, body)
                    value = json.dumps(plain).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(value)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(value)

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


@contextlib.contextmanager
def logged_in(cache: Path) -> Iterator[LoopbackHub]:
    """A hub on loopback, to which this process is logged in; fetched files are kept in `cache`."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra hub is not installed")
    with pytest.MonkeyPatch.context() as patch, served() as hub:
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub
