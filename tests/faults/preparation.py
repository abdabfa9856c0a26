"""Faults of a build: decoders, the build itself, a Ray node, the disk, the clock, a finished shard."""

from __future__ import annotations

import hashlib
import json
import random
import re
import secrets
import shutil
import signal
import time
from pathlib import Path

from avprep import schema
from tests.cluster.ray_nodes import node
from tests.faults.campaign import Ending, Fault, MissedError, Trial
from tests.faults.machine import jumping_clock, no_clock, no_disk, small_disk
from tests.faults.running import all_gone, code_of, ends, family, finish, one_sentence, program, running, until
from tests.faults.untouched import Files, Made, Untouched, begun, build, files_of, wrong_bytes
from tests.ports import free_port
from tests.processes import DECODER, processes_below

ROOMY_BYTES = 256 << 20


def ending(files: Files, untouched: Untouched, moment: str, since: float) -> Ending:
    """What a build that is over came to."""
    seconds = time.monotonic() - since
    wrong = wrong_bytes(files, untouched.built.files)
    return Ending(moment=moment, lost_clips=untouched.lost(files), wrong_bytes=wrong, recovery_seconds=seconds)


def marked(files: Files) -> int:
    """How many shards look done. Errors: AssertionError where one of them is not whole."""
    markers = [name for name in files if name.startswith("shards/") and re.fullmatch(r"\d+\.json", Path(name).name)]
    for name in markers:
        told = json.loads(files[name])
        data = files.get(told["shard"], b"")
        assert hashlib.sha256(data).hexdigest() == told["sha256"], f"{told['shard']} looks done and is not whole"
    return len(markers)


def _markers(out: Path) -> int:
    """How many shards look done in a folder that is being written to."""
    return len(list(out.glob("shards/*/*/[0-9]*.json")))


def _moment(draw: random.Random, made: Made) -> float:
    """Seconds at any time of the work; faults come early as often as late."""
    return draw.uniform(0, made.seconds)


def worker_killed(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    out, log, then = place / "data", place / "log", _moment(draw, untouched.built)
    with running(build(untouched.manifest, out), log) as process:
        until(lambda: len(family(process)) > 1 and begun(out)(), process, log)
        time.sleep(then)
        decoders = processes_below(process.pid, DECODER)
        if not decoders:
            raise MissedError
        since, done = time.monotonic(), _markers(out)
        draw.choice(decoders).kill()
        ends(process, log, 0)
    return ending(files_of(out), untouched, f"after {done} shards", since)


def _build_gets(number: signal.Signals, codes: tuple[int, ...]) -> Trial:
    def trial(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
        out, log, then = place / "data", place / "log", _moment(draw, untouched.built)
        with running(build(untouched.manifest, out), log) as process:
            until(begun(out), process, log)
            time.sleep(then)
            children = family(process)[1:]
            if process.poll() is not None:
                raise MissedError
            since = time.monotonic()
            process.send_signal(number)
            if code_of(process, log) not in codes and (out / schema.DATASET).exists():
                raise MissedError
            ends(process, log, *codes)
            all_gone(children)
        done = marked(files_of(out))
        finish(build(untouched.manifest, out), log, 0)
        return ending(files_of(out), untouched, f"{done} shards done", since)

    return trial


def ray_node_killed(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    out, log, then = place / "data", place / "log", _moment(draw, untouched.built)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    address = f"127.0.0.1:{free_port()}"
    head = ["--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false"]
    command = build(untouched.manifest, out, "--executor=ray", f"--address={address}")
    with (
        node(*head, **token),
        node(f"--address={address}", **token) as other,
        running(command, log, **token) as process,
    ):
        until(lambda: bool(processes_below(other.pid, DECODER)), process, log)
        time.sleep(then)
        done = _markers(out)
        raylets = [found for found in processes_below(other.pid, "raylet/raylet") if found.name() == "raylet"]
        if process.poll() is not None or not raylets:
            raise MissedError
        since = time.monotonic()
        raylets[0].kill()
        ends(process, log, 0)
    return ending(files_of(out), untouched, f"after {done} shards", since)


def disk_full(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    whole = sum(map(len, untouched.built.files.values()))
    room = draw.randrange(4096, whole)
    with small_disk(place / "disk", room) as disk:
        out, log = disk.folder / "data", place / "log"
        finish(build(untouched.manifest, out), log, 2)
        one_sentence(log, "No space left on device")
        since, done = time.monotonic(), marked(files_of(out))
        disk.grow(ROOMY_BYTES)
        finish(build(untouched.manifest, out), log, 0)
        return ending(files_of(out), untouched, f"room for {room / 1e6:.1f} MB, {done} shards done", since)


def clock_jumps(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    out, log = place / "data", place / "log"
    since = time.monotonic()
    with jumping_clock(place, draw) as clock:
        finish(build(untouched.manifest, out), log, 0, **clock.environ)
    return ending(files_of(out), untouched, f"{clock.jumps} jumps", since)


def shard_corrupted(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    assert untouched.built
    out, log = place / "data", place / "log"
    shutil.copytree(untouched.dataset, out)
    name = draw.choice(sorted(name for name in untouched.built.files if name.endswith(".tar")))
    if draw.random() < 0.25:
        name = schema.marker_path(name)
    data = bytearray(untouched.built.files[name])
    flips = draw.randint(1, 16)
    for at in draw.sample(range(len(data)), flips):
        data[at] ^= 1 << draw.randrange(8)
    (out / name).write_bytes(data)
    since = time.monotonic()
    finish(program("avprep", "verify", out), log, 1)
    named = {line.split(":")[0] for line in log.read_text().splitlines() if line.startswith("shards/")}
    assert named == {name}, f"verify names {sorted(named)}, altered was {name}"
    (out / name).unlink()
    finish(build(untouched.manifest, out), log, 0)
    finish(program("avprep", "verify", out), log, 0)
    return ending(files_of(out), untouched, f"{flips} bits of {name}", since)


FAULTS = [
    Fault(
        name="worker-killed",
        promise="one decoder is killed (signal 9): the build goes on by itself, exit 0, no clip failed, same bytes",
        trial=worker_killed,
    ),
    Fault(
        name="build-killed",
        promise="the build is killed (signal 9): no process stays behind, what is marked done is whole; the same "
        "command gives the same bytes",
        trial=_build_gets(signal.SIGKILL, (-signal.SIGKILL,)),
    ),
    Fault(
        name="build-stopped",
        promise="SIGTERM: exit 75 (0 once all shards are done), no process stays behind, what is marked done is "
        "whole; the same command gives the same bytes",
        trial=_build_gets(signal.SIGTERM, (75, 0)),
    ),
    Fault(
        name="ray-node-killed",
        promise="one of two Ray nodes is killed: the build goes on by itself, exit 0, same bytes",
        trial=ray_node_killed,
    ),
    Fault(
        name="build-disk-full",
        promise="the disk is full: exit 2 with one sentence, what is marked done is whole; once there is room, the "
        "same command gives the same bytes",
        trial=disk_full,
        lacks=no_disk,
    ),
    Fault(
        name="build-clock-jumps",
        promise="the clock jumps by hours and days: nothing is to be noticed, exit 0, same bytes",
        trial=clock_jumps,
        lacks=no_clock,
    ),
    Fault(
        name="shard-corrupted",
        promise="bits flip in a finished shard: verify names it and exits 1; that file deleted, the same build gives "
        "the same bytes and verify exits 0",
        trial=shard_corrupted,
    ),
]
