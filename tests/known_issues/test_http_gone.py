"""What a server has no more costs the clip; a server that is down, or refuses, ends the build, which resumes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits
from avprep.errors import UserError
from avprep.manifest.read_write import Clip, write_manifest
from avprep.shared import remote
from tests.conftest import FIXTURES

SOUND = (FIXTURES / "audio" / "elec_blip.ogg").read_bytes()
GONE = {404: "no such file", 410: "gone (HTTP 410)", 451: "withheld for legal reasons (HTTP 451)"}


class _Handler(BaseHTTPRequestHandler):
    """Answers /200/NAME with a sound, /STATUS/NAME with that status."""

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        status = int(self.path.split("/")[1])
        self.send_response(status)
        self.send_header("Content-Length", str(len(SOUND) if status == 200 else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path.startswith("/200/"):
            self.wfile.write(SOUND)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server; whoever reads there gives up soon."""
    hasty = remote.Retry(attempts=2, first_wait_seconds=0.01)
    monkeypatch.setattr(remote, "Retry", lambda: hasty)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def built(folder: Path, url: str, *statuses: int) -> list[dict]:
    """The failures of a build of a clip for each status."""
    clips = [Clip(f"c{status}", "x", audio_path=f"{status}/a.ogg") for status in statuses]
    write_manifest(folder / "m.csv", clips)
    result = build_shards(folder / "m.csv", folder / "data", BuildConfig(), Limits(), root=url)
    assert result.clips == statuses.count(200)
    return [json.loads(line) for line in (folder / "data" / "failures.jsonl").read_bytes().split(b"\n") if line]


@pytest.mark.slow
def test_what_is_gone_costs_the_clip(tmp_path, url):
    failures = built(tmp_path, url, 200, *GONE)
    assert {(one["clip_id"], one["reason"], one["detail"]) for one in failures} == {
        (f"c{status}", "missing", detail) for status, detail in GONE.items()
    }


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "is refused; give this machine credentials"), (403, "is refused"), (500, r"2 attempts \(HTTP 500\)"),
     (503, r"2 attempts \(HTTP 503\)"), (429, r"2 attempts \(HTTP 429\)")],
)  # fmt: skip
def test_what_is_the_servers_costs_no_clip(tmp_path, url, status, words):
    with pytest.raises(UserError, match=words):
        built(tmp_path, url, status)
    assert not list((tmp_path / "data").rglob("*.tar"))


def test_a_server_that_is_not_there_costs_no_clip(tmp_path, url):
    with pytest.raises(UserError, match="could not be read in 2 attempts"):
        built(tmp_path, "http://127.0.0.1:9", 200)
