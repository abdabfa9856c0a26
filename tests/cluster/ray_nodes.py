"""Ray nodes on this machine, each of one core in processes of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator

from tests.cluster.conftest import environ_of_ranks
from tests.docker.recipes import tool

STOP_SECONDS = 30


@contextlib.contextmanager
def node(*words: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A node, ready, which ends with the block."""
    command = [tool("ray"), "start", "--block", "--num-cpus=1", "--disable-usage-stats", *words]
    whole = environ_of_ranks() | environ
    with subprocess.Popen(command, env=whole, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("Ray runtime started" in line for line in process.stdout)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
