"""Two thousand damaged media files through the real worker: reasons, slowest clip, memory of the parent.

python -m tests.bench.fuzz SEED_FILE... [--count 2000] [--deadline-seconds 10]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.conftest import FIXTURES
from tests.prep.fuzzing import fuzz


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--deadline-seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    good = FIXTURES / "video" / "bbb_h264_aac.mp4"
    with tempfile.TemporaryDirectory() as name:
        found = fuzz(arguments.seeds, good, arguments.count, arguments.seed, Path(name), arguments.deadline_seconds)
    for reason, number in found.reasons.most_common():
        print(f"{number:6d} {reason or 'usable'}")
    print(f"slowest {found.slowest_seconds:.1f} s, deadline {arguments.deadline_seconds:g} s (twice with the retry)")
    print(f"parent grew by {found.memory_growth_bytes / 1e6:.1f} MB; {found.good_clips} good clips, all the same bytes")


if __name__ == "__main__":
    main()
