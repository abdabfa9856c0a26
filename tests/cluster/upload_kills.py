"""A run at s3:// that is killed at a random moment: what lies there must be whole, and going on must change no bit."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from click.testing import CliRunner

from avtrain.cli import main
from avtrain.runs import checkpoint
from tests import warm
from tests.cluster.conftest import DEADLINE_SECONDS
from tests.train.interruptions import MAIN, OPTIONS, STEPS, Trial, same_bits, trained
from tests.train.servers import Bucket

SLOW_SECONDS = 0.1


class SlowBucket(Bucket):
    """A Bucket that takes up to SLOW_SECONDS for each PUT, and counts those that it has not answered yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.draw, self.under_way = random.Random(0), 0

    def _answer(self, environ: dict, start_response: object) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "PUT":
            return super()._answer(environ, start_response)
        self.under_way += 1
        try:
            time.sleep(self.draw.uniform(0, SLOW_SECONDS))
            return super()._answer(environ, start_response)
        finally:
            self.under_way -= 1


def killed(bucket: SlowBucket, dataset: Path, folder: Path, kills: int, seed: int) -> Iterator[Trial]:
    """A trial for each of `kills` runs: killed with signal 9, looked at, gone on with to its end, compared."""
    whole, every = folder / "whole", folder / "every"
    trained(dataset, whole, OPTIONS)
    trained(dataset, every, [*OPTIONS, f"--keep-checkpoints={STEPS}"])
    draw = random.Random(seed)
    for number in range(kills):
        url, step = f"s3://{bucket.name}/runs/{number}", draw.randrange(STEPS)
        code, under_way = _kill(bucket, url, dataset, step, draw.uniform(0, 0.5))
        kept, wrong = _looked_at(bucket, f"runs/{number}/", every)
        run = folder / f"run{number}"
        done = CliRunner().invoke(main, ["pretrain", str(dataset), "--run", url, *OPTIONS])
        assert done.exit_code == 0, done.output
        for name, data in bucket.files(f"runs/{number}/").items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(data)
        equal = not wrong and same_bits(run, whole)
        yield Trial("SIGKILL, s3://", step, code, kept, equal, f"{under_way} files under way; {wrong or 'whole'}")


def _kill(bucket: SlowBucket, url: str, dataset: Path, after_step: int, then_seconds: float) -> tuple[int, int]:
    """Exit code, and files that were being put when the signal was sent, after a file of a step was put."""
    below = url.removeprefix(f"s3://{bucket.name}/") + "/"
    arguments = [*warm.python(), "-c", MAIN, "pretrain", str(dataset), "--run", url, *OPTIONS]
    with warm.all_gone() as stream:
        process = subprocess.Popen(arguments, stdin=stream, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + DEADLINE_SECONDS
        while process.poll() is None and not _has(bucket, below, after_step):
            assert time.monotonic() < limit
            time.sleep(0.01)
        time.sleep(then_seconds)
        under_way = bucket.under_way
        process.send_signal(signal.SIGKILL)
        code = process.wait(DEADLINE_SECONDS)
    while bucket.under_way:  # what was sent whole may still become a file
        time.sleep(0.01)
    return code, under_way


def _has(bucket: SlowBucket, below: str, step: int) -> bool:
    """Whether there is any file of the checkpoint of a step or a later one, or, for 0, of the run."""
    names = _names(bucket, below)
    return bool(names) and max((int(name[5:13]) for name in names if name.startswith("step_")), default=0) >= step


def _names(bucket: SlowBucket, below: str) -> list[str]:
    answer = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=below)
    return [entry["Key"].removeprefix(below) for entry in answer.get("Contents", ())]


def _looked_at(bucket: SlowBucket, below: str, every: Path) -> tuple[int, str]:
    """Updates in the newest whole checkpoint there, and what is wrong with any that looks whole."""
    files = bucket.files(below)
    steps = sorted(name.split("/")[0] for name in files if name.endswith(f"/{checkpoint.META}"))
    for step in steps:
        for path in (every / step).glob("*.safetensors"):
            if files.get(f"{step}/{path.name}") != path.read_bytes():
                return 0, f"{step}/{path.name} is missing or of other bytes"
    begun = any(name.startswith("step_") for name in files)
    if begun and not steps and max(int(name[5:13]) for name in files if name.startswith("step_")) > 2:
        return 0, "no whole checkpoint"
    return int(steps[-1][5:]) if steps else 0, ""
