"""slurm/: what is submitted, and what a task does, with programs in Slurm's place that note how they are called."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.docker.recipes import DOCKER, of_ours, parsed

SLURM = DOCKER / "slurm"
STAND_IN = """#!/bin/bash
printf '%s\\0' "${0##*/}" "$@" >> "$CALLS"
printf '\\n' >> "$CALLS"
case ${0##*/} in
sbatch) echo "7;cluster" ;;
scontrol) [[ $1 != show ]] || printf 'node1\\nnode2\\n' ;;
srun) [[ " $* " == *" plan "* ]] || exit "$ENDS" ;;
esac
"""


@pytest.fixture
def call(tmp_path):
    """A function that runs a script and gives (exit code, command lines that it called)."""
    for name in ("sbatch", "srun", "scontrol", "avprep", "avtrain"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"

    def run(script, ends=0, **environ):
        calls.write_text("")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        whole = inherited | {"CALLS": str(calls), "ENDS": str(ends), "ENVIRONMENT": str(tmp_path)} | environ
        done = subprocess.run([SLURM / script], env=whole, cwd=tmp_path, check=False, timeout=60, capture_output=True)
        return done.returncode, [line.split("\0")[:-1] for line in calls.read_text().splitlines()]

    return run


TASK = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4"}


def test_preparation_is_an_array_and_a_job_that_depends_on_all_of_it(call):
    code, (array, joined) = call("prep.sh", PARTITIONS="5", SUBMIT_OPTIONS="--account=a --partition=p")
    assert code == 0
    assert {"--array=0-4", "--requeue", "--account=a", "--partition=p", "--export=ALL,AV_STAGE=build"} <= set(array)
    assert {"--dependency=afterok:7", "--account=a", "--export=ALL,AV_STAGE=finalize"} <= set(joined)
    assert array[-1] == joined[-1] == str(SLURM / "prep.sh")


def test_a_task_builds_its_partition(call):
    code, lines = call(
        "prep.sh",
        AV_STAGE="build",
        SLURM_ARRAY_TASK_ID="0",
        PARTITIONS="5",
        MANIFEST="/m.csv",
        DATASET="/d",
        BUILD_OPTIONS="--frame-codec jpeg",
        **TASK,
    )
    assert code == 0
    (words,) = lines
    found = parsed(of_ours(words))
    assert (found["partition"], found["workers"], found["frame_codec"]) == ("0/5", 4, "jpeg")
    assert (str(found["manifest_file"]), str(found["out"])) == ("/m.csv", "/d")
    code, (words,) = call("prep.sh", AV_STAGE="finalize", DATASET="/d", **TASK)
    assert (code, str(parsed(words)["dataset_dir"])) == (0, "/d")


def test_training_is_planned_and_then_launched_on_each_node(call):
    code, (words,) = call("train.sh", NODES="2", GPUS="3", HOURS="1")
    assert code == 0
    assert {"--nodes=2", "--gpus-per-node=3", "--ntasks-per-node=1", "--requeue", "--time=1:00:00"} <= set(words)
    settings = {"NODES": "2", "GPUS": "3", "DATASET": "/d", "RUN": "/r", "BATCH_SIZE": "12", "EPOCHS": "4"}
    task = {"AV_STAGE": "train", "SLURM_JOB_NODELIST": "node[1-2]", "TRAIN_OPTIONS": "--precision bf16", **TASK}
    code, (plan, _, train) = call("train.sh", **settings, **task)
    assert code == 0
    place = train.index(str(DOCKER / "train-node"))
    assert train[place + 1 : place + 5] == ["2", "3", "node1:29400", "/r"]
    planned, trained = parsed(of_ours(plan)), parsed(of_ours(train[place:]))
    assert planned["world_size"] == 6
    assert (str(trained["run"]), trained["precision"]) == ("/r", "bf16")
    shared = planned.keys() & trained.keys()
    assert {"dataset", "strategy", "batch_size", "epochs"} <= shared
    assert {key: planned[key] for key in shared} == {key: trained[key] for key in shared}


@pytest.mark.parametrize(
    ("script", "task", "name"),
    [
        ("prep.sh", {"AV_STAGE": "build", "SLURM_ARRAY_TASK_ID": "0"}, "7_0"),
        ("train.sh", {"AV_STAGE": "train", "SLURM_JOB_NODELIST": "node1"}, "9"),
    ],
)
@pytest.mark.parametrize("ends", [0, 1, 2, 75])
def test_only_what_was_interrupted_is_requeued(call, script, task, name, ends):
    code, lines = call(script, ends=ends, **task, **TASK)
    assert code == ends
    assert (["scontrol", "requeue", name] in lines) == (ends == 75)


def test_a_folder_without_the_programs_is_reported_before_anything_is_submitted(call, tmp_path):
    for script in ("prep.sh", "train.sh"):
        code, lines = call(script, ENVIRONMENT=str(tmp_path / "none"), PATH="/usr/bin:/bin")
        assert (code, lines) == (2, [])
