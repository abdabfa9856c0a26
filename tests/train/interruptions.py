"""A run that is killed or asked to stop at a random moment and then started again: what became of it?"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from click.testing import CliRunner

from avtrain.cli import main
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from tests import warm
from tests.conftest import REPOSITORY
from tests.train import test_torchrun

HANG_SECONDS, STEPS = 300, 24
MAIN = "from avtrain.cli import main; main()"
OPTIONS = [
    "--model-size=tiny",
    "--batch-size=8",
    f"--max-steps={STEPS}",
    "--epochs=9",
    "--strategy=soft-positive:p=0.5",
    "--learning-rate=1e-3",
    "--checkpoint-every-steps=2",
    "--device=cpu",
    "--threads=1",
]


@dataclass(frozen=True)
class Trial:
    """One interruption and what came of it."""

    how: str
    wanted_step: int
    """the signal was sent up to two updates' time after a checkpoint at this step or later was there"""
    code: int
    """exit code of the process that was interrupted"""
    kept_steps: int
    """updates in the newest checkpoint then"""
    equal: bool
    """is the run that went on from there the run that nothing stopped?"""
    detail: str = ""

    def __str__(self) -> str:
        verdict = "equal" if self.equal else "NOT EQUAL"
        return (
            f"{self.how:18} after step {self.wanted_step:2}  exit {self.code:3}  "
            f"checkpoint at {self.kept_steps:2}  {verdict}  {self.detail}"
        )


def interrupt(
    command: list[str], run: Path, number: signal.Signals, after_step: int, then_seconds: float, cwd: Path
) -> int:
    """Start a command that trains `run`, send a signal to it and all below it; its exit code when all are gone.

    The signal is sent `then_seconds` after there is a checkpoint of `after_step` updates or more; for 0, the folder.
    """
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    below: list[psutil.Process] = []
    with warm.all_gone() as stream:
        process = subprocess.Popen(
            command, cwd=cwd, env=environ, stdin=stream, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            begin = time.monotonic()
            while process.poll() is None and not ((run / run_folder.CONFIG).exists() and kept_steps(run) >= after_step):
                assert time.monotonic() < begin + HANG_SECONDS
                time.sleep(0.002)
            time.sleep(then_seconds)
            below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for each in (process, *below):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.send_signal(number)
            return process.wait(HANG_SECONDS)
        finally:
            process.kill()
            _, alive = psutil.wait_procs(below, timeout=HANG_SECONDS)
            assert not alive, "a rank outlived its launcher"


def kept_steps(run: Path) -> int:
    """Updates in the newest checkpoint, which may be about to be removed."""
    return max((int(folder.name.removeprefix("step_")) for folder in checkpoint.checkpoints(run)), default=0)


def trained(dataset: Path, run: Path, options: list[str]) -> float:
    """Train `run` to its end in this process, from wherever it is; the seconds that its updates took."""
    done = CliRunner().invoke(main, ["pretrain", str(dataset), "--run", str(run), *options])
    assert done.exit_code == 0, done.output
    return run_folder.read_metrics(run)[-1]["seconds"]


def same_bits(run: Path, whole: Path) -> bool:
    """Whether weights, optimiser, position and all losses are those of another run, bit for bit."""
    return _bits(run) == _bits(whole)


def _bits(run: Path) -> object:
    end = checkpoint.latest(run)
    assert end is not None
    lines = [(line["step"], line["loss"], line["gradient_norm"]) for line in run_folder.read_metrics(run)]
    return lines, {path.name: path.read_bytes() for path in end.iterdir()}


def on_one_process(
    dataset: Path, folder: Path, signals: list[signal.Signals], seed: int, more: Sequence[str] = ()
) -> Iterator[Trial]:
    """A run for each of `signals`, stopped by it and started again, against a run that nothing stopped.

    All have OPTIONS and `more`.
    """
    options = [*OPTIONS, *more]
    draw = random.Random(seed)
    seconds = trained(dataset, folder / "whole", options)
    for number, each in enumerate(signals):
        run, step, then = folder / f"run{number}", draw.randrange(STEPS), draw.uniform(0, 2 * seconds / STEPS)
        arguments = [*warm.python(), "-c", MAIN, "pretrain", str(dataset), "--run", str(run), *options]
        code = interrupt(arguments, run, each, step, then, folder)
        kept = kept_steps(run)
        trained(dataset, run, options)
        yield Trial(each.name, step, code, kept, same_bits(run, folder / "whole"))


def on_two_ranks(dataset: Path, folder: Path, kills: int, seed: int) -> Iterator[Trial]:
    """Runs of two ranks under torchrun, killed and taken over by one process, against a run of one; norm frozen."""
    draw = random.Random(seed)
    plans = test_torchrun.alone(dataset, folder / "whole2")
    curve = test_torchrun.curve(folder / "whole2")
    seconds = run_folder.read_metrics(folder / "whole2")[-1]["seconds"]
    (folder / "script.py").write_text(test_torchrun.SCRIPT)
    for number in range(kills):
        run, told = folder / f"ranks{number}", folder / f"told{number}"
        step, then = draw.randrange(test_torchrun.STEPS), draw.uniform(0, 2 * seconds / test_torchrun.STEPS)
        told.mkdir()
        code = interrupt(test_torchrun.command(told, dataset, run), run, signal.SIGKILL, step, then, folder)
        kept = kept_steps(run)
        first = test_torchrun.joined([_lines(told / f"rank{rank}.jsonl") for rank in range(2)])
        last = test_torchrun.alone(dataset, run)
        found = test_torchrun.curve(run)
        apart = max(abs(one - other) / abs(other) for one, other in zip(found, curve, strict=True))
        equal = first == plans[: len(first)] and last == plans[kept:] and apart <= 1e-5
        yield Trial("2 ranks, SIGKILL", step, code, kept, equal, f"losses within {apart:.1e}")


def _lines(path: Path) -> list[tuple]:
    """What a rank told of its batches; the last line may be cut off."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            found.append(tuple(json.loads(line)))
    return found
