"""A Ray cluster writes the bytes of one process: of two nodes, one of which is lost in a build; with a task killed."""

from __future__ import annotations

import secrets
import time

import pytest

import avprep
import avtrain
from tests.cluster.conftest import DEADLINE_SECONDS
from tests.cluster.ray_nodes import node
from tests.conftest import REPOSITORY
from tests.ports import free_port
from tests.prep.test_build import start, tree
from tests.prep.test_pseudo_label_parts import MODEL
from tests.prep.test_pseudo_label_parts import place as labelled_place  # noqa: F401
from tests.processes import DECODER, processes_below
from tests.train.test_embed_parts import killing, place  # noqa: F401

pytestmark = pytest.mark.slow

OFTEN = {"RAY_health_check_period_ms": "500", "RAY_health_check_initial_delay_ms": "500"}
"""How often the head asks whether a node is there; the time that it gives a slow one to answer stays the usual."""


def test_a_build_outlives_a_node_byte_for_byte(demo_clips, demo_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    address = f"127.0.0.1:{free_port()}"
    out, limit = tmp_path / "data", time.monotonic() + DEADLINE_SECONDS
    head = ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false"]
    build_options = ["--executor", "ray", "--address", address]
    with node(*head, **OFTEN), node(f"--address={address}") as other, start(demo_clips, out, *build_options) as build:
        while not (processes_below(other.pid, DECODER) and len(list(out.glob("shards/*/*/*.json"))) >= 3):
            assert build.poll() is None, build.communicate()[1]
            assert time.monotonic() < limit
            time.sleep(0.05)
        (raylet,) = (found for found in processes_below(other.pid, "raylet/raylet") if found.name() == "raylet")
        raylet.kill()
        _, errors = build.communicate(timeout=DEADLINE_SECONDS)
    assert build.returncode == 0, errors
    assert tree(out) == tree(demo_dataset)


def test_embed_and_pseudo_label_write_the_same_bytes(killing, labelled_place, tmp_path, monkeypatch):  # noqa: F811
    """A task of the first is killed in the middle."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.syspath_prepend(killing)
    address = f"127.0.0.1:{free_port()}"
    head = ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false", "--num-cpus=1"]
    how = {"executor": "ray", "address": address}
    settings = {"model": MODEL, "weights": labelled_place / "w.safetensors", "batch_size": 2, "device": "cpu"}
    wanted = avprep.pseudo_label(labelled_place / "data", "ray", **settings).read_bytes()
    with node(*head, PYTHONPATH=f"{killing}:{REPOSITORY}"):
        out = tmp_path / "ray.parquet"
        avtrain.write_embeddings(killing / "data", out, run=killing / "run", device="cpu", **how)
        made = avprep.pseudo_label(labelled_place / "data", "ray", replace=True, **settings, **how)
    assert (killing / "killed").exists()
    assert out.read_bytes() == (killing / "one.parquet").read_bytes()
    assert made.read_bytes() == wanted
