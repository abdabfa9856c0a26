"""What `build-shards --quality` costs over a build without it, clip by clip in turns, and what `avprep quality` takes.

    python -m tests.bench.quality CLIP... [--rounds 10]    (CLIP: real videos, looped to 10 s of 640x360)

Processor time of decoding, log-mel, writing and measuring in one process, as a decoding process does it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from avprep.build.decoding import _answer
from avprep.build.members import ClipRecord
from avprep.build.run import build_shards
from avprep.build.tasks import ClipTask
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
from avprep.manifest.clips import Clip
from avprep.manifest.read_write import write_manifest
from avprep.quality.table import measure_row
from tests.bench.build import rendered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        clips = []
        for number, source in enumerate(arguments.sources):
            rendered(source, root / f"{number}.mp4")
            clips.append(Clip(f"c{number}", "rendered", video_path=f"{number}.mp4"))
        tar = root / "clip.tar"
        tar.touch()
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for number in range(arguments.rounds + 1):
            for clip in clips:
                for quality in (number % 2 == 0, number % 2 == 1):
                    task = ClipTask(clip, str(root), BuildConfig(), Limits(), str(tar), 0, quality=quality)
                    begin = time.process_time()
                    record = _answer(task)
                    seconds[quality].append(time.process_time() - begin)
                    assert isinstance(record, ClipRecord), record
        first = len(clips)  # of either, in which libraries are loaded
        plain, measured = (seconds[quality][first:] for quality in (False, True))
        ratios = sorted(100 * (a / b - 1) for a, b in zip(measured, plain, strict=True))
        write_manifest(root / "clips.csv", clips)
        build_shards(root / "clips.csv", root / "out", BuildConfig(), Limits(), workers=1)
        dataset = Dataset(root / "out")
        stored = []
        for _ in range(arguments.rounds):
            begin = time.process_time()
            measure_row(dataset, 0)
            stored.append(time.process_time() - begin)
        for title, times in (("plain", plain), ("--quality", measured), ("avprep quality", stored)):
            print(f"{title:15s} {1000 * statistics.median(times):6.1f} ms a clip, median of {len(times)}")
        print(
            f"--quality costs {100 * (sum(measured) / sum(plain) - 1):.1f} % more in all; pair by pair median "
            f"{statistics.median(ratios):.1f} %, quartiles {ratios[len(ratios) // 4]:.1f} and "
            f"{ratios[3 * len(ratios) // 4]:.1f} %"
        )


if __name__ == "__main__":
    main()
