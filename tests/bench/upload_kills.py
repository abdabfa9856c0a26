"""Runs at s3:// that are killed (signal 9) while checkpoints are uploaded, each started again: a line for each.

    python -m tests.bench.upload_kills [--kills 20] [--seed 0]

The endpoint is on loopback and takes up to 0.1 s a file. After each kill, every checkpoint there that has a meta.json
must have the bytes of the run that nothing stopped; then the run goes on and must end with its bits (CPU, one thread).
Checkpoints name the commit, so nothing may be committed meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from tests.cluster.upload_kills import SlowBucket, killed
from tests.train.forge import Forged, forge_dataset
from tests.train.servers import bucket_serving


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    equal = 0
    with tempfile.TemporaryDirectory() as name, bucket_serving("bucket", SlowBucket) as bucket:
        clips = [Forged("abc"[row % 3]) for row in range(48)]
        dataset = forge_dataset(Path(name) / "data", clips, frame_size=32, mel_bands=32)
        for trial in killed(bucket, dataset, Path(name), arguments.kills, arguments.seed):
            print(trial, flush=True)
            equal += trial.equal
    print(f"{equal} of {arguments.kills} whole and equal")
    if equal < arguments.kills:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
