"""What `build-shards --quality` costs over a build without it, in turns, and what `avprep quality` takes.

    python -m tests.bench.quality CLIP... [--clips 48] [--rounds 5]    (CLIP: real videos, looped to 10 s of 640x360)

Processor time of all processes, which other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits
from avprep.manifest.clips import Clip
from avprep.manifest.read_write import write_manifest
from avprep.quality.table import write_quality
from tests.bench.build import CLASSES, rendered
from tests.bench.costs import spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        paths = [root / f"{number}.mp4" for number in range(len(arguments.sources))]
        for source, path in zip(arguments.sources, paths, strict=True):
            rendered(source, path)
        rows = [
            Clip(f"c{row}", f"class{row % CLASSES}", video_path=paths[row % len(paths)].name)
            for row in range(arguments.clips)
        ]
        write_manifest(root / "clips.csv", rows)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        stored = []
        for number in range(arguments.rounds):
            for quality in (number % 2 == 0, number % 2 == 1):
                shutil.rmtree(root / "out", ignore_errors=True)
                before = spent()
                build_shards(root / "clips.csv", root / "out", BuildConfig(), Limits(), workers=1, quality=quality)
                seconds[quality].append((spent() - before) / len(rows))
                if not quality:
                    before = spent()
                    write_quality(root / "out")
                    stored.append((spent() - before) / len(rows))
        ratios = [100 * (a / b - 1) for a, b in zip(seconds[True], seconds[False], strict=True)]
        for title, times in (("plain", seconds[False]), ("--quality", seconds[True]), ("avprep quality", stored)):
            print(f"{title:15s} {1000 * statistics.median(times):6.1f} ms a clip, median of {len(times)}")
        print(f"--quality costs {statistics.median(ratios):.1f} % more, of {[round(ratio, 1) for ratio in ratios]}")


if __name__ == "__main__":
    main()
