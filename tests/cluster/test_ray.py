"""A Ray cluster of two nodes, one of which is lost while it builds: the bytes are those of a build on one machine."""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
import time

import psutil

from tests.cluster.conftest import DEADLINE_SECONDS, environ_of_ranks
from tests.cluster.slurm import free_port
from tests.docker.recipes import tool
from tests.prep.test_build import start, tree

STOP_SECONDS = 30


def below(process, word):
    """The processes below one whose command line has this word."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if word in " ".join(child.cmdline()):
                    yield child


@contextlib.contextmanager
def node(*words):
    """A node of one core, ready, in processes of its own, which end with the block."""
    command = [tool("ray"), "start", "--block", "--num-cpus=1", "--disable-usage-stats", *words]
    with subprocess.Popen(command, env=environ_of_ranks(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert any("Ray runtime started" in line for line in process.stdout)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()


def test_a_build_outlives_a_node_byte_for_byte(demo_clips, demo_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    address = f"127.0.0.1:{free_port()}"
    out, limit = tmp_path / "data", time.monotonic() + DEADLINE_SECONDS
    head = ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false"]
    build_options = ["--executor", "ray", "--address", address]
    with node(*head), node(f"--address={address}") as other, start(demo_clips, out, *build_options) as build:
        while not (list(below(other, "spawn_main")) and len(list(out.glob("shards/*/*/*.json"))) >= 3):
            assert build.poll() is None, build.communicate()[1]
            assert time.monotonic() < limit
            time.sleep(0.05)
        (raylet,) = (found for found in below(other, "raylet/raylet") if found.name() == "raylet")
        raylet.kill()
        _, errors = build.communicate(timeout=DEADLINE_SECONDS)
    assert build.returncode == 0, errors
    assert tree(out) == tree(demo_dataset)
