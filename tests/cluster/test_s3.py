"""From clips to a measured encoder by s3:// paths alone, on an S3 endpoint of this machine; kills in mid-upload."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import avprep.cli
import avtrain.cli
from avprep.build import fetch
from avprep.build.finalize import finalize
from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.errors import UserError
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avprep.shared.remote import RemotePath, Retry
from tests import warm
from tests.cluster.conftest import DEADLINE_SECONDS
from tests.prep.test_build import COMMAND, CONFIG, start, tree
from tests.train.servers import bucket_serving, serving

pytestmark = pytest.mark.slow

CLIPS, DATA, RUN = "s3://bucket/clips/manifest.csv", "s3://bucket/data", "s3://bucket/runs/one"
TRAIN = ["--epochs=4", "--model-size=tiny", "--batch-size=4", "--device=cpu", "--threads=1"]
TRAIN += ["--checkpoint-every-steps=2"]


@pytest.fixture(scope="module")
def clips(demo_clips, tmp_path_factory):
    """The manifest of 20 clips of two classes, which lie in folders of their splits and classes."""
    found, place = read_manifest(demo_clips), tmp_path_factory.mktemp("few")
    labels = sorted({clip.label for clip in found})[:2]
    for clip in (clip for clip in found if clip.label in labels):
        path = Path(clip.video_path)
        folder = place / "media" / clip.split / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo_clips.parent / path, folder)
    called(avprep.cli, "manifest", "folder", "--root", place / "media", "--out", place / "few.csv")
    return place / "few.csv"


@pytest.fixture(scope="module")
def built(clips, tmp_path_factory):
    """The dataset folder of these clips, built on this machine."""
    out = tmp_path_factory.mktemp("built") / "data"
    build_shards(clips, out, CONFIG, Limits(), workers=2)
    return out


@pytest.fixture
def bucket(clips):
    with bucket_serving("bucket") as bucket:
        for clip in read_manifest(clips):
            bucket.put(clips.parent / clip.video_path, f"clips/{clip.video_path}")
        bucket.put(clips, "clips/manifest.csv")
        yield bucket


def called(program, *words):
    done = CliRunner().invoke(program.main, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def killed_while_it_puts(bucket, name, process):
    """Kill a process with signal 9 in the middle of putting a file whose path ends so."""
    bucket.held, limit = name, time.monotonic() + DEADLINE_SECONDS
    while not bucket.holding.wait(0.1):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
    process.kill()
    process.communicate()
    bucket.released()


def put(bucket):
    """Every file of the dataset there but the reports, which hold times."""
    return {name: data for name, data in bucket.files("data/").items() if not name.startswith("reports/")}


def locally(folder):
    """The same of a dataset folder here, but the file by which processes of this machine wait for each other."""
    return {name: data for name, data in tree(folder).items() if name != ".lock"}


def marked(bucket):
    """The shards there that look done, each of which must be whole."""
    files = put(bucket)
    markers = [json.loads(data) for name, data in files.items() if name.startswith("shards/") and name.endswith("json")]
    for marker in markers:
        assert hashlib.sha256(files[marker["shard"]]).hexdigest() == marker["sha256"]
    return len(markers)


def test_from_clips_to_a_measured_encoder_by_urls_alone(bucket, clips, built, tmp_path, caplog):
    """The training is killed in the middle of putting its third checkpoint, and goes on at the second."""
    caplog.set_level(logging.DEBUG, "avprep")
    caplog.set_level(logging.DEBUG, "avtrain")
    made = "s3://bucket/clips/made.csv"
    said = called(avprep.cli, "manifest", "folder", "--root", "s3://bucket/clips/media", "--out", made)
    assert bucket.files("clips/")["made.csv"] == clips.read_bytes()
    said += called(avprep.cli, "build-shards", made, "--out", DATA, *COMMAND)
    assert put(bucket) == locally(built)
    train = ["pretrain", DATA, "--run", RUN, *TRAIN]
    command = [*warm.python(), "-c", "from avtrain.cli import main; main()", *train]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    killed_while_it_puts(bucket, "step_00000006/optim.safetensors", process)
    assert "exit.json" not in bucket.files("runs/one/")
    said += called(avtrain.cli, *train)
    assert "one: 8/8 steps" in said
    said += called(avtrain.cli, "evaluate", DATA, "--protocol=knn", "--run", RUN, "--device=cpu")
    assert f"written to {RUN}/eval/data-knn-s0/result.json" in said
    files = bucket.files("runs/one/")
    result = json.loads(files["eval/data-knn-s0/result.json"])
    assert (result["run"], result["step"], result["test_clips"]) == ("one", 12, 8)
    assert json.loads(files["exit.json"])["status"] == "done"
    near = tmp_path / "one"
    called(avtrain.cli, "pretrain", built, "--run", near, *TRAIN)
    checkpoints = {path.relative_to(near).as_posix(): path.read_bytes() for path in near.glob("step_*/*.safetensors")}
    assert checkpoints == {name: data for name, data in files.items() if name.endswith(".safetensors")}
    everything = b"".join(bucket.files().values()) + (said + caplog.text).encode()
    assert bucket.SECRET.encode() not in everything


def test_a_build_killed_in_mid_upload_leaves_no_shard_that_looks_done(bucket, built):
    """Killed while it puts a tar, a marker, the last of the tables: each time it goes on with what is whole."""
    whole = 0
    for name in (".tar", "000001.json", "/dataset.json"):
        killed_while_it_puts(bucket, name, start(CLIPS, DATA))
        assert whole <= marked(bucket) < 6 or name == "/dataset.json"
        assert "dataset.json" not in bucket.files("data/")
        whole = marked(bucket)
    result = build_shards(CLIPS, DATA, CONFIG, Limits())
    assert (result.shards_kept, result.shards_built) == (6, 0)
    assert put(bucket) == locally(built)


def test_parts_at_a_url_are_joined_and_refusals_name_it(bucket, built, tmp_path):
    def refused(wanted, call, *arguments, **options):
        with pytest.raises(UserError, match=wanted) as error:
            call(*arguments, **options)
        assert "/tmp" not in str(error.value)

    def part(index):
        return build_shards(CLIPS, DATA, CONFIG, Limits(), workers=2, partition=(index, 2))

    refused(f"{DATA}/plan/build.json does not exist", finalize, DATA)
    assert part(0).shards_built == 3
    refused(f"3 of 6 planned shards of {DATA} are not built yet", finalize, DATA)
    other = BuildConfig(video=VideoSpec(frame_size=32))
    refused(f"{DATA} holds a build with other options", build_shards, CLIPS, DATA, other, Limits())
    refused("s3://bucket/clips is not empty", build_shards, CLIPS, "s3://bucket/clips", CONFIG, Limits())
    refused("s3://bucket/no.csv does not exist", build_shards, "s3://bucket/no.csv", DATA, CONFIG, Limits())
    refused("http://a/b cannot be written to", build_shards, CLIPS, "http://a/b", CONFIG, Limits())
    assert (part(0).shards_kept, part(1).shards_built) == (3, 3)
    finalize(DATA)
    assert put(bucket) == locally(built)


def test_clips_behind_http_fail_as_on_a_disk_and_a_server_that_is_down_ends_the_build(clips, tmp_path, monkeypatch):
    found = {(clips.parent / clip.video_path).stat().st_size: clip for clip in read_manifest(clips)}
    sizes = (max(found), min(found))
    first, second = (found[size] for size in sizes)
    with serving(clips.parent) as server:
        paths = [
            first.video_path,
            f"{server.url}/{second.video_path}",
            "gone.mp4",
            "a/../" + first.video_path,
            "who?.mp4",
        ]
        write_manifest(tmp_path / "m.csv", [Clip(f"c{n}", "x", video_path=path) for n, path in enumerate(paths)])
        server.faults, server.faulty = ["503", "reset", "short"], ".mp4"
        known = server.url.replace("//", "//name:password@")
        result = build_shards(tmp_path / "m.csv", tmp_path / "out", CONFIG, Limits(), root=known)
        assert (result.clips, result.failures, server.faults) == (3, {"missing": 2}, [])
        server.sent.clear()
        limits = Limits(max_file_bytes=min(sizes))
        result = build_shards(tmp_path / "m.csv", tmp_path / "small", CONFIG, limits, root=server.url)
        assert result.failures == {"missing": 2, "too-large": 2}
        assert list(server.sent.values()) == [min(sizes)]
        hasty = functools.partial(RemotePath, retry=Retry(attempts=2, first_wait_seconds=0.01))
        monkeypatch.setattr(fetch, "RemotePath", hasty)
        server.faults = 10_000 * ["503"]
        with pytest.raises(UserError, match=r"mp4 could not be read in 2 attempts \(HTTP 503\)"):
            build_shards(tmp_path / "m.csv", tmp_path / "down", CONFIG, Limits(), root=server.url)
