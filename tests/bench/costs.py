"""What VGGSound takes to prepare, from what clips of 10 s take here: the table of docker/README.md.

    python -m tests.bench.costs CLIP... [--clips 48]    (CLIP: real videos to render clips of 640x360 H.264 from)

Measured with one worker for each codec: processor time of all processes (which other work on the machine hardly
changes), bytes of the dataset and of its clips, the most memory that one process ever had. Pictures are those of CLIP,
with no noise added: JPEG's bytes are theirs.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.manifest.read_write import Clip, write_manifest
from tests.bench.build import CLASSES, rendered

SETS = {"balanced": 38_007, "whole": 200_000}
EPOCHS = 100
PAIR_BYTES = 8 * 112 * 112 * 3 + 100 * 128 * 2
"""8 pictures and a second of log-mel"""


def spent() -> float:
    """Seconds of processor time of this process and of those that it has waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=48)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = [root / f"{number}.mp4" for number in range(len(arguments.sources))]
        for source, path in zip(arguments.sources, paths, strict=True):
            rendered(source, path, noise=False)
        rows = [
            Clip(f"c{row}", f"class{row % CLASSES}", video_path=paths[row % len(paths)].name)
            for row in range(arguments.clips)
        ]
        write_manifest(root / "clips.csv", rows)
        print(f"a clip of these: {sum(path.stat().st_size for path in paths) / len(paths) / 1e6:.2f} MB")
        for codec in ("raw", "jpeg"):
            before, out = spent(), root / codec
            config = BuildConfig(video=VideoSpec(frame_codec=codec))
            build_shards(root / "clips.csv", out, config, Limits(), workers=1)
            core_seconds = (spent() - before) / len(rows)
            stored = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / len(rows)
            print(f"{codec}: {core_seconds:.3f} core seconds and {stored / 1e6:.2f} MB a clip")
            for name, clips in SETS.items():
                print(f"  {name}: {core_seconds * clips / 3600:.1f} core hours, {stored * clips / 1e9:.0f} GB")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        print(f"at most {peak / 1e6:.0f} MB in a process")
    for name, clips in SETS.items():
        epoch = clips * PAIR_BYTES
        print(f"{name}: {epoch / 1e9:.1f} GB read in an epoch, raw; {EPOCHS * epoch / 1e12:.2f} TB in {EPOCHS}")


if __name__ == "__main__":
    main()
