"""A run at a URL: training goes on while a checkpoint is put, one at a time; what fails there ends the run."""

from __future__ import annotations

import json
import threading

import fsspec
import pytest

from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath
from avtrain.runs.remote import SNAPSHOT, at_hand
from avtrain.training.every_run import pretrain_runs
from tests.train.forge import Forged, forge_dataset

SETTINGS = {"model_size": "tiny", "batch_size": 4, "epochs": 3, "max_steps": 8, "checkpoint_every_steps": 2}
SETTINGS |= {"keep_checkpoints": 1}
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = [Forged("ab"[row % 2]) for row in range(16)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """Files of the run on a disk, by name."""
    run = tmp_path_factory.mktemp("whole") / "run"
    pretrain_runs(folder, run, SETTINGS, quiet=True)
    return learnt({path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()})


@pytest.fixture
def url(request):
    return f"memory://upload/{request.node.name}"


@pytest.fixture
def requests(monkeypatch):
    """What was put and removed, in order; `before` of them may be set to what is done before a put of a name."""

    class Requests(list):
        before = staticmethod(lambda name: None)
        under_way = 0

    requests, put, remove = Requests(), RemotePath.put, RemotePath.remove

    def spied(self, local):
        name = str(self).split("/", 4)[-1]
        requests.under_way += 1
        assert requests.under_way == 1, "one file at a time"
        try:
            requests.before(name)
            put(self, local)
        finally:
            requests.under_way -= 1
        requests.append(("put", name))

    def gone(self):
        requests.append(("remove", str(self).split("/", 4)[-1]))
        remove(self)

    monkeypatch.setattr(RemotePath, "put", spied)
    monkeypatch.setattr(RemotePath, "remove", gone)
    return requests


def learnt(files):
    """Checkpoints, and losses without times."""
    lines = [json.loads(line) for line in files["metrics.jsonl"].splitlines()]
    kept = {name: data for name, data in files.items() if name.startswith("step_")}
    return kept, [(line["step"], line["loss"], line["gradient_norm"]) for line in lines]


def there(url):
    files, start = fsspec.filesystem("memory"), "/" + url.removeprefix("memory://") + "/"
    return {name.removeprefix(start): files.cat_file(name) for name in files.find(start)}


def test_training_goes_on_while_a_checkpoint_is_put(folder, whole, url, requests):
    held, go_on, updates = threading.Event(), threading.Event(), []

    def before(name):
        if name == "step_00000002/model.safetensors":
            held.set()
            assert go_on.wait(WAIT_SECONDS)

    def stopping():  # asked after each update but the last
        updates.append(len(updates))
        if len(updates) == 3:
            assert held.wait(WAIT_SECONDS)
            assert "step_00000002/meta.json" not in there(url)
            go_on.set()
        return False

    requests.before = before
    pretrain_runs(folder, url, SETTINGS, quiet=True, stopping=stopping)
    assert len(updates) == 7
    assert learnt(there(url)) == whole
    assert json.loads(there(url)["exit.json"])["status"] == "done"


def test_a_checkpoint_is_whole_before_the_one_before_it_goes(folder, url, requests):
    pretrain_runs(folder, url, SETTINGS, quiet=True)
    order = [(how, name) for how, name in requests if name.startswith("step_")]
    for old, new in (("02", "04"), ("04", "06"), ("06", "08")):
        of_old = [number for number, (how, name) in enumerate(order) if how == "remove" and f"{old}/" in name]
        of_new = [number for number, (how, name) in enumerate(order) if how == "put" and f"{new}/" in name]
        assert max(of_new) < min(of_old)
        assert order[max(of_new)][1].endswith("/meta.json")
        assert order[min(of_old)][1].endswith("/meta.json")


def test_what_fails_ends_the_run_at_the_next_checkpoint(folder, whole, url, requests):
    updates = []

    def before(name):
        if name.endswith("optim.safetensors") and "step_00000002" not in name:
            raise UserError("The bucket is full.")

    requests.before = before
    with pytest.raises(UserError, match="The bucket is full"):
        pretrain_runs(folder, url, SETTINGS, quiet=True, stopping=lambda: bool(updates.append(1)))
    assert len(updates) == 6
    found = there(url)
    assert {"step_00000002/meta.json", "step_00000002/optim.safetensors"} <= found.keys()
    assert {name for name in found if name.endswith("meta.json")} == {"step_00000002/meta.json"}
    requests.before = lambda name: None
    pretrain_runs(folder, url, SETTINGS, quiet=True)
    assert learnt(there(url)) == whole


def test_what_fails_last_is_tried_again_at_the_end(folder, whole, url, requests, caplog):
    faults = ["The bucket is full."]

    def before(name):
        if name.startswith("step_00000008") and faults:
            raise UserError(faults.pop())

    requests.before = before
    pretrain_runs(folder, url, SETTINGS, quiet=True)
    assert "The bucket is full. It is tried once more." in caplog.text
    assert learnt(there(url)) == whole


def test_what_is_put_is_as_it_was_when_it_began(url, requests):
    """Files that grow are copied, those of checkpoints are linked; both are gone afterwards."""
    go_on = threading.Event()
    with at_hand(url) as hand:
        (hand.folder / "config.json").write_text("{}")
        hand.put()
        requests.before = lambda name: name != "metrics.jsonl" or go_on.wait(WAIT_SECONDS)
        checkpoint = hand.folder / "step_00000002"
        checkpoint.mkdir()
        (checkpoint / "model.safetensors").write_text("weights")
        (hand.folder / "metrics.jsonl").write_text("1\n")
        hand.begin_put()
        links = (checkpoint / "model.safetensors").stat().st_nlink
        (checkpoint / "model.safetensors").unlink()
        (hand.folder / "metrics.jsonl").write_text("1\n2\n")
        go_on.set()
        hand._wait()
        assert links == 2
        weights = {"step_00000002/model.safetensors": b"weights"}
        assert there(url) == {"config.json": b"{}", "metrics.jsonl": b"1\n", **weights}
        assert not hand.folder.with_name(SNAPSHOT).exists()
    assert there(url) == {"config.json": b"{}", "metrics.jsonl": b"1\n2\n"}
