"""torchrun on two hosts, each of which is lost in turn, the one where they meet too: all end, and all begin again."""

from __future__ import annotations

import time

import pytest

from tests.cluster.conftest import DEADLINE_SECONDS, STEPS, environ_of_ranks, losses, pretrain_command
from tests.cluster.hosts import lacking, two_hosts
from tests.docker.recipes import DOCKER, PATH
from tests.train.interruptions import kept_steps

pytestmark = pytest.mark.slow

RESUMED_SECONDS = 120


@pytest.fixture
def hosts(tmp_path):
    if why := lacking():
        pytest.skip(f"no network namespaces here: {why}")
    with two_hosts(tmp_path) as found:
        yield found


def test_a_lost_host_ends_the_other_and_both_go_on_with_the_same_batches(hosts, trainable, uninterrupted, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    node = [str(DOCKER / "train-node"), "2", "1", "host0:29400", str(run)]

    def start():
        environ = environ_of_ranks() | {"PATH": PATH}
        command = [*node, *pretrain_command(trainable, run)]
        return [hosts.start(number, command, environ | {"JOB_COMPLETION_INDEX": str(number)}, log) for number in (0, 1)]

    kept = 0
    for lost in (0, 1):
        both = start()
        limit = time.monotonic() + RESUMED_SECONDS
        while kept_steps(run) == kept:
            assert time.monotonic() < limit, log.read_text()
            assert [process.poll() for process in both] == [None, None], log.read_text()
            time.sleep(0.02)
        both[lost].kill()
        assert both[1 - lost].wait(DEADLINE_SECONDS) == 1, log.read_text()
        kept = kept_steps(run)
        assert kept < len(uninterrupted)
        assert losses(run)[:kept] == uninterrupted[:kept]
    assert [process.wait(DEADLINE_SECONDS) for process in start()] == [0, 0], log.read_text()
    assert f"run: {STEPS - kept}/{STEPS - kept} steps" in log.read_text()
    assert losses(run) == uninterrupted
