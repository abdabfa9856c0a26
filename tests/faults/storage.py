"""Faults of an S3 endpoint that clips come from and shards and checkpoints go to, and of one that is read by HTTP."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from avprep.manifest.read_write import read_manifest
from tests.faults.campaign import Ending, Fault, MissedError, Trial
from tests.faults.endpoint import Unsteady, Weather
from tests.faults.preparation import ending, marked
from tests.faults.running import all_gone, family, finish, running, until
from tests.faults.training import ending as run_ending
from tests.faults.untouched import Files, Untouched, build, learnt, pretrain
from tests.train.servers import bucket_serving, serving

CLIPS, DATA, RUN = "s3://bucket/clips/manifest.csv", "s3://bucket/data", "s3://bucket/run"
STARTS = 4  # of the same command, until it is through
OFTEN = 0.2  # of requests meet a fault


@contextlib.contextmanager
def _bucket(draw: random.Random) -> Iterator[Unsteady]:
    with bucket_serving("bucket", lambda name: Unsteady(name, random.Random(draw.random()))) as bucket:
        yield bucket


def _with_clips(bucket: Unsteady, untouched: Untouched) -> None:
    folder = untouched.manifest.parent
    bucket.put(untouched.manifest, "clips/manifest.csv")
    for clip in read_manifest(untouched.manifest):
        bucket.put(folder / clip.video_path, f"clips/{clip.video_path}")


def _data(bucket: Unsteady) -> Files:
    """The dataset there, without reports, which hold times."""
    return {name: data for name, data in bucket.files("data/").items() if not name.startswith("reports/")}


def _build_in(weather: Callable[[random.Random], Weather]) -> Trial:
    def trial(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
        assert untouched.built
        log = place / "log"
        with _bucket(draw) as bucket:
            _with_clips(bucket, untouched)
            bucket.weather, since = weather(draw), time.monotonic()
            starts = 1
            while finish(build(CLIPS, DATA), log, 0, 2):
                marked(_data(bucket))
                starts += 1
                assert starts <= STARTS, f"not through in {STARTS} starts"
            if not bucket.faults:
                raise MissedError
            moment = f"{bucket.faults} requests, {starts} starts"
            return ending(_data(bucket), untouched, moment, since)

    return trial


def _slow(draw: random.Random) -> Weather:
    return lambda _method: "slow" if draw.random() < OFTEN else ""


def _failing(draw: random.Random) -> Weather:
    return lambda _method: draw.choice(("500", "cut", "slow")) if draw.random() < OFTEN else ""


def _cutting_puts(draw: random.Random) -> Weather:
    return lambda method: "cut" if method == "PUT" and draw.random() < OFTEN else ""


def _holding_put(number: int) -> Weather:
    """The put of this number, from 1, is held in the middle."""
    seen = 0

    def weather(method: str) -> str:
        nonlocal seen
        seen += method == "PUT"
        return "hold" if method == "PUT" and seen == number else ""

    return weather


def _killed_in_a_put(command: list[str], bucket: Unsteady, number: int, log: Path) -> None:
    """Kill a program while it puts the file of this number."""
    bucket.weather = _holding_put(number)
    with running(command, log) as process:
        if not until(bucket.holding.is_set, process, log):
            raise MissedError
        children = family(process)[1:]
        process.kill()
        process.wait()
        all_gone(children)
    bucket.released()
    bucket.weather = lambda _method: ""


def uploader_killed(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    log, files = place / "log", len(untouched.built.files)
    with _bucket(draw) as bucket:
        _with_clips(bucket, untouched)
        _killed_in_a_put(build(CLIPS, DATA), bucket, number := draw.randint(1, files), log)
        since, there = time.monotonic(), _data(bucket)
        done = marked(there)
        assert "dataset.json" not in there, "the dataset looks finished"
        finish(build(CLIPS, DATA), log, 0)
        return ending(_data(bucket), untouched, f"in file {number}, {done} shards done", since)


def checkpoint_upload_killed(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    log, near = place / "log", place / "run"
    with _bucket(draw) as bucket:
        number = draw.randint(1, 5 * 12)  # five files go with each of twelve checkpoints
        _killed_in_a_put(pretrain(untouched.trainable, RUN), bucket, number, log)
        since = time.monotonic()
        finish(pretrain(untouched.trainable, RUN), log, 0)
        for name, data in bucket.files("run/").items():
            (near / name).parent.mkdir(parents=True, exist_ok=True)
            (near / name).write_bytes(data)
        return run_ending(learnt(near), untouched.trained, f"in file {number}", since)


def _training_in(faults: Callable[[random.Random], list[str]]) -> Trial:
    def trial(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
        assert untouched.trained
        log, run = place / "log", place / "run"
        with serving(untouched.trainable) as server:
            server.faults, server.slow_seconds, starts = faults(draw), 0.5, 1
            planned, since = len(server.faults), time.monotonic()
            while finish(pretrain(server.url, run), log, 0, 2):
                starts += 1
                assert starts <= STARTS, f"not through in {STARTS} starts"
            met = planned - len(server.faults)
        return run_ending(learnt(run), untouched.trained, f"among {met} requests, {starts} starts", since)

    return trial


def _slow_ranges(draw: random.Random) -> list[str]:
    return ["slow" if draw.random() < OFTEN else "" for _ in range(10_000)]


def _failing_ranges(draw: random.Random) -> list[str]:
    kinds = ("503", "reset", "short", "fewer", "slow")
    return [draw.choice(kinds) if draw.random() < OFTEN else "" for _ in range(10_000)]


def _no_endpoint() -> str:
    lacking = [name for name in ("moto", "s3fs", "boto3") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


FAULTS = [
    Fault(
        name="bucket-slow",
        promise="a fifth of an S3 endpoint's answers take up to a second: the build goes on by itself, same bytes",
        trial=_build_in(_slow),
        lacks=_no_endpoint,
    ),
    Fault(
        name="bucket-failing",
        promise="a fifth of an S3 endpoint's answers are errors, late or cut: the build is repeated in itself, or ends "
        "with exit 2, what is marked done being whole, and the same command goes on; same bytes",
        trial=_build_in(_failing),
        lacks=_no_endpoint,
    ),
    Fault(
        name="upload-cut",
        promise="connections are cut in the middle of a fifth of all uploads: as for bucket-failing",
        trial=_build_in(_cutting_puts),
        lacks=_no_endpoint,
    ),
    Fault(
        name="uploader-killed",
        promise="a build is killed (signal 9) in the middle of an upload: no shard looks done that is not whole, there "
        "is no dataset.json; the same command gives the same bytes",
        trial=uploader_killed,
        lacks=_no_endpoint,
    ),
    Fault(
        name="run-uploader-killed",
        promise="training is killed (signal 9) in the middle of the upload of a checkpoint: the same command ends with "
        "the same weights, optimiser and losses, bit for bit",
        trial=checkpoint_upload_killed,
        lacks=_no_endpoint,
    ),
    Fault(
        name="ranges-slow",
        promise="a fifth of the answers to training's reads by HTTP "
        "take half a second: it goes on by itself; same bits",
        trial=_training_in(_slow_ranges),
    ),
    Fault(
        name="ranges-failing",
        promise="a fifth of the answers are errors, late, cut or too short: reads are repeated, or training ends with "
        "exit 2 and the same command goes on; same bits",
        trial=_training_in(_failing_ranges),
    ),
]
