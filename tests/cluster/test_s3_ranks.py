"""Ranks whose dataset and run lie at s3://: what train-node makes of exit.json there, and who may write it."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from avtrain.runs import folder as run_folder
from avtrain.runs.remote import at_hand
from tests import warm
from tests.cluster.conftest import DEADLINE_SECONDS, environ_of_ranks, pretrain_command
from tests.docker.recipes import DOCKER, PATH
from tests.train.servers import bucket_serving

pytestmark = pytest.mark.slow

RUN = "s3://bucket/runs/two"


@pytest.fixture
def bucket(trainable, tmp_path):
    """The dataset, and a run that has told of a mistake of the user's."""
    with bucket_serving("bucket") as bucket:
        for path in trainable.rglob("*"):
            if path.is_file():
                bucket.put(path, f"data/{path.relative_to(trainable)}")
        run_folder.write_exit(tmp_path, "user-error", 2)
        bucket.put(tmp_path / "exit.json", "runs/two/exit.json")
        yield bucket


def told(bucket):
    return json.loads(bucket.files("runs/two/")["exit.json"])["status"]


def test_two_ranks_are_stopped_with_the_code_in_exit_json_there(bucket, uninterrupted):
    ranks = pretrain_command("s3://bucket/data", RUN, str(warm.tools() / "avtrain"))
    command = [DOCKER / "train-node", "1", "2", "localhost:0", RUN, *ranks]
    forked = {"PATH": f"{warm.tools()}{os.pathsep}{PATH}"}
    with subprocess.Popen([*map(str, command)], env=environ_of_ranks() | forked) as process:
        while not bucket.client.list_objects_v2(Bucket="bucket", Prefix="runs/two/step_00000005/meta")["KeyCount"]:
            assert process.poll() is None
            time.sleep(0.1)
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 75
    assert told(bucket) == "interrupted"
    lines = list(map(json.loads, bucket.files("runs/two/")["metrics.jsonl"].splitlines()))
    assert 5 <= len(lines) < len(uninterrupted)
    found = [(line["step"], line["loss"], line["gradient_norm"]) for line in lines]
    assert found == uninterrupted[: len(lines)]


@pytest.mark.parametrize(("writes", "code"), [(True, 2), (False, 1)])
def test_only_an_exit_json_that_was_written_anew_counts(bucket, tmp_path, writes, code):
    """The same words as before, a second later at the least: the endpoint tells times in seconds."""
    there = f"boto3.client('s3').upload_file('{tmp_path}/exit.json', 'bucket', 'runs/two/exit.json')"
    command = ["python3", "-c", f"import boto3, time; time.sleep(1); {there if writes else 0}; exit(1)"]
    environ = environ_of_ranks() | {"PATH": PATH}
    assert subprocess.run([DOCKER / "exit-as-told", RUN, *command], env=environ, check=False).returncode == code


def test_the_first_rank_that_writes_counts_and_an_old_file_does_not(bucket):
    with at_hand(RUN, rank=1) as second:
        assert not (second.folder / "exit.json").exists()
        with at_hand(RUN) as first:
            run_folder.clear_exit(first.folder)
            first.put()
            assert "exit.json" not in bucket.files("runs/two/")
            run_folder.write_exit(second.folder, "user-error", 2, "of this time")
            second.put_exit()
            run_folder.write_exit(first.folder, "failed", 1, "the other rank is gone")
    assert json.loads(bucket.files("runs/two/")["exit.json"])["sentence"] == "of this time"
