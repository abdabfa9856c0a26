"""Processes that train: started, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from avtrain.runs import checkpoint
from tests.gpu.bench import REPOSITORY, Bench

MAIN = "from avtrain.cli import main; main()"
HANG_SECONDS = 400


class Command:
    """Python code in a process of its own, with its standard error kept."""

    def __init__(self, bench: Bench, code: str, arguments: list[str], environ: dict[str, str] | None = None) -> None:
        self.end, stream = os.pipe()
        self.process = subprocess.Popen(
            [*bench.python, "-c", code, *arguments],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environ or {})},
            stdin=stream,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.close(stream)

    def finish(self) -> None:
        """Wait for its end. Errors: RuntimeError with its last line where it failed."""
        try:
            _, errors = self.process.communicate(timeout=HANG_SECONDS)
        finally:
            self.process.kill()
            os.close(self.end)
        if self.process.returncode:
            lines = errors.decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"exit {self.process.returncode}: {lines[-1] if lines else ''}")

    def kill_after_checkpoint(self, run: Path) -> int:
        """Kill -9 once `run` has a checkpoint; updates that are kept."""
        begin = time.monotonic()
        while not checkpoint.checkpoints(run) and self.process.poll() is None:
            if time.monotonic() > begin + HANG_SECONDS:
                break
            time.sleep(0.002)
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        os.read(self.end, 1)  # its end: whatever it started has the other end of the pipe too
        os.close(self.end)
        newest = checkpoint.latest(run)
        return 0 if newest is None else int(checkpoint.read_meta(newest, "step")["step"])


def pretraining(bench: Bench, run: Path, options: list[str]) -> Command:
    """`avtrain pretrain` on the raw dataset."""
    return Command(bench, MAIN, ["pretrain", str(bench.raw), "--run", str(run), "--device", bench.device, *options])
