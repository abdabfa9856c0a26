"""A Ray cluster of two nodes, one of which is lost while it builds: the bytes are those of a build on one machine."""

from __future__ import annotations

import secrets
import time

import pytest

from tests.cluster.conftest import DEADLINE_SECONDS
from tests.cluster.ray_nodes import node
from tests.ports import free_port
from tests.prep.test_build import start, tree
from tests.processes import DECODER, processes_below

pytestmark = pytest.mark.slow


def test_a_build_outlives_a_node_byte_for_byte(demo_clips, demo_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    address = f"127.0.0.1:{free_port()}"
    out, limit = tmp_path / "data", time.monotonic() + DEADLINE_SECONDS
    head = ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false"]
    build_options = ["--executor", "ray", "--address", address]
    with node(*head), node(f"--address={address}") as other, start(demo_clips, out, *build_options) as build:
        while not (processes_below(other.pid, DECODER) and len(list(out.glob("shards/*/*/*.json"))) >= 3):
            assert build.poll() is None, build.communicate()[1]
            assert time.monotonic() < limit
            time.sleep(0.05)
        (raylet,) = (found for found in processes_below(other.pid, "raylet/raylet") if found.name() == "raylet")
        raylet.kill()
        _, errors = build.communicate(timeout=DEADLINE_SECONDS)
    assert build.returncode == 0, errors
    assert tree(out) == tree(demo_dataset)
