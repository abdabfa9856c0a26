"""Names of files that mean something in a URL: '#', '?', '%' and more, at an http server and in a bucket."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avprep.build.fetch import fetched
from avprep.build.tasks import ClipTask
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
from avprep.errors import ClipError, UserError
from avprep.manifest.addresses import address_of, wrong_address
from avprep.manifest.read_write import Clip, read_manifest
from avprep.shared.mirror import near
from avprep.shared.remote import RemotePath
from tests.train.forge import Forged, forge_dataset, write_labels
from tests.train.servers import bucket_serving

NAMES = ("x#1.wav", "a%20b.wav", "q?v=1.wav", "50%.wav", "é ü.wav", "a b/c+d&e;f=g.wav", "%23.wav", "~[1]'\".wav")
DECOYS = ("x", "a b.wav", "q", "#.wav", "a b/c d&e;f=g.wav")
"""what stands at the address that such a name is as text of a URL"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The address of a web server that takes URLs as such servers do: percent-encoded."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files that hold their own names, in a folder whose name has a blank."""
    for name in (*NAMES, *DECOYS):
        path = tmp_path / "served" / "my clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}", encoding="utf-8")
    return tmp_path / "served"


def content(root: str, written: str) -> str:
    """What a build would decode of the clip `written` below `root`."""
    task = ClipTask(Clip("a", "x", audio_path=written), root, BuildConfig(), Limits(), "", 0)
    with fetched(task) as task:
        return Path(task.fetched[written]).read_text(encoding="utf-8")


def test_names_below_an_http_root_are_names_of_files(tree):
    with web_server(tree) as url:
        found = {name: content(f"{url}/my%20clips", name) for name in NAMES}
        assert found == {name: f"this is {name}" for name in NAMES}
        assert content(f"{url}/my%20clips/a%20b", "../x#1.wav") == "this is x#1.wav"
        with pytest.raises(ClipError, match="missing: no such file"):
            content(f"{url}/my%20clips", "a%2520b.wav")


def test_whole_urls_stay_as_they_are(tree):
    with web_server(tree) as url:
        assert content("/anywhere", f"{url}/my%20clips/x%231.wav") == "this is x#1.wav"
        assert content("/anywhere", f"{url}/my%20clips/a%2520b.wav") == "this is a%20b.wav"
        assert content("/anywhere", f"{url}/my clips/a b.wav") == "this is a b.wav"
        with near(f"{url}/my%20clips/%2523.wav") as path:
            assert path.read_text(encoding="utf-8") == "this is %23.wav"


def test_a_fragment_of_a_url_is_refused_and_not_dropped(tmp_path):
    assert "'#', where an address ends" in wrong_address("https://host/x#1.wav")
    (tmp_path / "m.csv").write_text("label,audio_path\nx,https://host/x#1.wav\n")
    with pytest.raises(UserError, match=r"line 2: an address with a '#'.*%23"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(UserError, match=r"http://host/clips .*is followed by a '#'.* %23"):
        RemotePath("http://host/clips #1")
    with pytest.raises(UserError, match="has a query"):
        RemotePath("http://host/clips?token=1")


def test_names_in_a_bucket_are_keys_as_they_are(tree):
    names = [name for name in NAMES if "?" not in name]
    with bucket_serving("bucket") as bucket:
        for name in (*names, "x", "a b.wav"):
            bucket.put(tree / "my clips" / name, f"my clips/{name}")
        found = {name: content("s3://bucket/my clips", name) for name in names}
        assert found == {name: f"this is {name}" for name in names}
        assert str(RemotePath("s3://bucket/x#1") / "a#b") == "s3://bucket/x#1/a#b"
        with pytest.raises(ClipError, match="missing: a question mark"):
            content("s3://bucket/my clips", "q?v=1.wav")


def test_relative_names_are_joined_alike_wherever_the_manifest_is():
    """As they stand for a bucket, percent-encoded for http, whose root is text of a URL already."""
    assert address_of("s3://b/d#1", "../x%#.wav") == "s3://b/x%#.wav"
    assert address_of("http://h/d%201", "../x%#.wav") == "http://h/x%25%23.wav"
    assert address_of("http://h/d", "https://g/x%20y.wav") == "https://g/x%20y.wav"
    assert address_of("http://h/d", "/x#.wav") == address_of("/r", "x#.wav") == ""


def test_a_dataset_below_a_folder_with_a_blank_is_read(tmp_path):
    folder = forge_dataset(tmp_path / "served" / "my data", [Forged("rain, 100 % & more"), Forged("dog")])
    write_labels(folder, "a.b", {"c0": 0}, ["x"])
    with web_server(tmp_path / "served") as url:
        dataset = Dataset(f"{url}/my%20data")
        assert dataset.class_names == Dataset(folder).class_names
        assert dataset.labels("a.b").class_names == ["x"]
