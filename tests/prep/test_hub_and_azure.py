"""Clips at hf:// and az://, on servers of this machine that answer as far as reading goes."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

from avprep.build.fetch import copied, holds
from avprep.config import Limits
from avprep.errors import ClipError
from avprep.manifest.addresses import wrong_address
from avprep.shared.remote import RemotePath, Retry
from tests.prep.test_archives import write_zip

DATA = bytes(range(256)) * 40


@contextlib.contextmanager
def serving(respond):
    """The address of a server; `respond` a method, a path with query and a body is (status, bytes, headers)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, data, headers = respond(self.command, unquote(self.path), body)
            asked = self.headers.get("x-ms-range") or self.headers.get("Range")
            whole = len(data)
            if asked and status == 200:
                begin, end = asked.removeprefix("bytes=").split("-")
                end = min(int(end or whole - 1), whole - 1)
                headers |= {"Content-Range": f"bytes {begin}-{end}/{whole}"}
                status, data = 206, data[int(begin) : end + 1]
            self.send_response(status)
            for name, text in {"Content-Length": str(len(data)), "ETag": '"1"', **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_HEAD = _respond  # noqa: N815 - names of the base class

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def files(tmp_path):
    zipped = write_zip(tmp_path / "x.zip", {"a.ogg": DATA}).read_bytes()
    return {"clips/a#1.ogg": DATA, "clips/x.zip": zipped}


def check(root: str, tmp_path) -> None:
    """What a build does with clips below `root`: whole, as a range of an archive, and one that is not there."""
    assert copied(root, "clips/a#1.ogg", tmp_path / "1", Limits()).read_bytes() == DATA
    assert copied("/", f"zip://a.ogg::{root}/clips/x.zip", tmp_path / "2", Limits()).read_bytes() == DATA
    path = RemotePath(f"{root}/clips/a#1.ogg", Retry(attempts=1))
    part = bytearray(100)
    path.read_range(300, memoryview(part))
    assert bytes(part) == DATA[300:400]
    assert RemotePath(f"{root}/clips").below() == {"a#1.ogg": len(DATA), "x.zip": (tmp_path / "x.zip").stat().st_size}
    assert not RemotePath(f"{root}/clips/gone.ogg").is_file()
    assert not holds(RemotePath(f"{root}/clips/gone.zip"), "zip", "a.ogg")
    with pytest.raises(ClipError, match="missing: no such file"):
        copied(root, "clips/gone.ogg", tmp_path / "3", Limits())


def test_clips_of_a_dataset_on_the_hub(files, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra hub is not installed")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def entry(name: str) -> dict:
        return {"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40}

    def respond(_method: str, path: str, body: bytes):
        plain = {"Content-Type": "application/json"}
        name = path.partition("/resolve/main/")[2].partition("?")[0]
        if path.startswith("/datasets/lab/sounds/resolve/main/"):
            return (200, files[name], {}) if name in files else (404, b"", {"X-Error-Code": "EntryNotFound"})
        words = urlsplit(path.replace("#", "%23")).path.strip("/").split("/")
        if words[:4] != ["api", "datasets", "lab", "sounds"]:
            return 404, b"{}", plain | {"X-Error-Code": "RepoNotFound"}
        if words[4:5] == ["paths-info"]:
            return 200, json.dumps([entry(name) for name in json.loads(body)["paths"] if name in files]).encode(), plain
        if words[4:5] == ["tree"]:
            folder = "/".join(words[6:])
            return 200, json.dumps([entry(name) for name in files if name.startswith(folder)]).encode(), plain
        return 200, json.dumps({"id": "lab/sounds", "sha": "1" * 40, "siblings": []}).encode(), plain

    with serving(respond) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        check("hf://datasets/lab/sounds", tmp_path)
        with pytest.raises(ClipError, match="missing: no such file"):
            copied("hf://datasets/lab/none", "a.ogg", tmp_path / "4", Limits())
    assert wrong_address("hf://datasets/lab/sounds@main/a.ogg") == ""


def test_clips_in_a_container_of_azure(files, tmp_path, monkeypatch):
    pytest.importorskip("adlfs", reason="the extra azure is not installed")

    def respond(_method: str, path: str, _body: bytes):
        about = {"Last-Modified": "Mon, 30 Nov 2026 23:00:00 GMT", "x-ms-blob-type": "BlockBlob"}
        address, _, query = path.partition("?")
        if "comp=list" in query:
            prefix = dict(one.partition("=")[::2] for one in query.split("&")).get("prefix", "")
            blobs = "".join(
                f"<Blob><Name>{name}</Name><Properties><Content-Length>{len(data)}</Content-Length>"
                "<BlobType>BlockBlob</BlobType></Properties></Blob>"
                for name, data in files.items()
                if name.startswith(prefix)
            )
            begin = f'<?xml version="1.0"?><EnumerationResults ContainerName="data"><Prefix>{prefix}</Prefix>'
            listing = f"{begin}<Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
            return 200, listing.encode(), {"Content-Type": "application/xml"}
        name = address.removeprefix("/lab/data/")
        return (200, files[name], about) if name in files else (404, b"", {"x-ms-error-code": "BlobNotFound"})

    with serving(respond) as address:
        known = f"DefaultEndpointsProtocol=http;AccountName=lab;AccountKey=a2V5;BlobEndpoint={address}/lab;"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", known)
        check("az://data", tmp_path)
