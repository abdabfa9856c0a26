"""slurm/: its scripts as they are, on a real Slurm, to the end, stopped on the way, and with a mistake."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import time

import pytest

from avprep.build.shards import read_plan
from avprep.schema import marker_path
from tests.cluster import slurm as cluster
from tests.cluster.conftest import DEADLINE_SECONDS, OPTIONS, SETTINGS, environ_of_ranks, losses
from tests.docker.recipes import DOCKER
from tests.ports import free_port
from tests.prep.test_build import tree

pytestmark = pytest.mark.slow

BUILD_OPTIONS = "--frame-size 48 --clips-per-shard 4"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if lacking := cluster.lacking():
        pytest.skip(f"no Slurm here ({', '.join(lacking)}): apt-get install slurm-wlm munge")
    with cluster.running(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def submit(slurm, tmp_path):
    """A function that runs a script of slurm/ as on a login node, with settings by the environment."""

    def run(script, **settings):
        places = {"ENVIRONMENT": sysconfig.get_path("scripts"), "LOGS": str(tmp_path / "logs"), "HOURS": "1"}
        environ = environ_of_ranks() | slurm.environ | places | settings
        done = subprocess.run([DOCKER / "slurm" / script], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return run


def told(tmp_path):
    return "".join(f"\n{path.name}:\n{path.read_text()}" for path in sorted((tmp_path / "logs").glob("*")))


def until(condition, slurm, name, tmp_path):
    """Wait while jobs of this name are at work, for which Slurm is asked once a second."""
    asked = 0.0
    while not condition():
        if time.monotonic() - asked > 1:
            assert any(job["JobState"] not in cluster.ENDED for job in slurm.jobs(name)), told(tmp_path)
            asked = time.monotonic()
        time.sleep(0.05)


def how(jobs):
    """(state, exit code, whether it was requeued) of each job."""
    return [(job["JobState"], job["ExitCode"], job["Restarts"] != "0") for job in jobs]


def test_a_task_asked_to_stop_is_requeued_alone_and_all_are_joined_to_the_bytes_of_one_process(
    slurm, submit, demo_clips, demo_dataset, tmp_path
):
    """The task told is the one whose job id is also that of the whole array."""
    data = tmp_path / "data"
    settings = {"MANIFEST": str(demo_clips), "DATASET": str(data), "BUILD_OPTIONS": BUILD_OPTIONS}
    submit("prep.sh", CORES="1", MEMORY_A_CORE="1G", PARTITIONS="2", **settings)
    until((data / "plan" / "build.json").exists, slurm, "avprep", tmp_path)
    second = [data / marker_path(shard.path) for shard in read_plan(data / "plan" / "build.json")[1][1::2]]
    until(lambda: any(path.exists() for path in second), slurm, "avprep", tmp_path)
    (array,) = {job["ArrayJobId"] for job in slurm.jobs("avprep")}
    slurm.call("scancel", "--signal=TERM", f"{array}_1")
    joined = slurm.ended("avfinalize", DEADLINE_SECONDS)
    first, last = sorted(slurm.jobs("avprep"), key=lambda job: job["ArrayTaskId"])
    assert last["JobId"] == array
    assert how([first, last]) == [("COMPLETED", "0:0", False), ("COMPLETED", "0:0", True)], told(tmp_path)
    assert how(joined) == [("COMPLETED", "0:0", False)], told(tmp_path)
    assert tree(data) == tree(demo_dataset)


def test_a_mistake_ends_the_array_and_withdraws_the_job_that_joins(slurm, submit, tmp_path):
    submit(
        "prep.sh", CORES="1", MEMORY_A_CORE="1G", PARTITIONS="1", MANIFEST=str(tmp_path), DATASET=str(tmp_path / "d")
    )
    joined = slurm.ended("avfinalize", DEADLINE_SECONDS)[-1:]
    assert how(slurm.jobs("avprep")[-1:]) == [("FAILED", "2:0", False)], told(tmp_path)
    assert [(job["JobState"], job["Reason"]) for job in joined] == [("CANCELLED", "DependencyNeverSatisfied")]


def test_training_on_two_nodes_asked_to_stop_is_requeued_and_ends_as_if_nothing_had_happened(
    slurm, submit, trainable, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    settings = {name.upper(): str(value) for name, value in SETTINGS.items()}
    places = {"DATASET": str(trainable), "RUN": str(run), "TRAIN_OPTIONS": " ".join(OPTIONS), "PORT": str(free_port())}
    nodes = {"NODES": "2", "GPUS": "1", "CORES": "1", "MEMORY": "1G", "DEVICE": "cpu"}
    submit("train.sh", **places, **nodes, **settings)
    until(lambda: len(list(run.glob("step_*"))) >= 2, slurm, "avtrain", tmp_path)
    slurm.call("scancel", "--signal=TERM", slurm.jobs("avtrain")[-1]["JobId"])
    until(lambda: (run / "exit.json").exists(), slurm, "avtrain", tmp_path)
    assert json.loads((run / "exit.json").read_text())["status"] == "interrupted"
    kept = len(losses(run))
    assert how(slurm.ended("avtrain", DEADLINE_SECONDS)) == [("COMPLETED", "0:0", True)], told(tmp_path)
    assert 10 <= kept < len(uninterrupted)
    assert f"checkpoint at step {kept} of {len(uninterrupted)}" in told(tmp_path)
    assert f"{len(uninterrupted) - kept}/{len(uninterrupted) - kept} steps" in told(tmp_path)
    assert losses(run) == uninterrupted
