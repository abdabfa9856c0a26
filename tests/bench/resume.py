"""Runs that are killed (signal 9) and asked to stop (SIGTERM) at random moments, each started again: a line for each.

    python -m tests.bench.resume [--trials 20] [--ranks 5] [--seed 0]

Half of `--trials` are killed, half asked; they end with the bits of the run that nothing stopped (CPU, one thread).
Then `--ranks` runs of two gloo ranks under torchrun are killed and taken over by one process, batch norm frozen: the
same plans, losses within 1e-5. Tiny models; the folder of a trial that was not equal is kept and named. Checkpoints
name the commit, so nothing may be committed meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
from pathlib import Path

import torch

from tests.train.forge import Forged, forge_dataset
from tests.train.interruptions import on_one_process, on_two_ranks


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="resume-"))
    signals = [(signal.SIGKILL, signal.SIGTERM)[number % 2] for number in range(arguments.trials)]
    trials = []
    for found in (
        on_one_process(_data(folder / "data", 48), folder, signals, arguments.seed),
        on_two_ranks(_data(folder / "data2", 36, validating=18), folder, arguments.ranks, arguments.seed),
    ):
        for trial in found:
            print(trial, flush=True)
            trials.append(trial)
    equal = sum(trial.equal for trial in trials)
    print(
        f"{equal} of {len(trials)} equal; {sum(trial.code == 0 for trial in trials)} were over before the signal came"
    )
    if equal < len(trials):
        raise SystemExit(f"all runs are in {folder}")
    shutil.rmtree(folder)


def _data(folder: Path, training: int, validating: int = 0) -> Path:
    splits = ["train"] * training + ["val"] * validating
    clips = [Forged("abc"[row % 3], split) for row, split in enumerate(splits)]
    return forge_dataset(folder, clips, frame_size=32, mel_bands=32)


if __name__ == "__main__":
    main()
