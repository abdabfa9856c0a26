"""Real clips of one class on one worker and on two, and what the machine gives at best: two builds of half the clips.

    python -m tests.bench.two_workers [--clips 47] [--runs 3] [--data ../shared/data] [--work DIR] [--as-they-are]

Clips are those of media.csv and of grid/ with picture and sound, looped to 10 s of 640x360 as those of VGGSound are;
or, with --as-they-are, in their 30 codecs and containers, most of 1 s. Each figure is the median over runs of the
seconds of a whole command, the three interleaved. The datasets must be equal to the byte.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg

from avprep.manifest.clips import Clip
from avprep.manifest.read_write import write_manifest

FORM = {"t": 10, "vf": "scale=640:360", "r": 25, "c:v": "libx264", "preset": "superfast", "pix_fmt": "yuv420p"}
SOUND = {"c:a": "aac", "ar": 44100, "ac": 2}
SHORTEST_SECONDS = 0.5  # ffmpeg loops some shorter clips for ever
SCRIPT = "from avprep.cli import main; main()"


def real_clips(data: Path, count: int) -> list[Clip]:
    """The first clips of media.csv that have picture and sound enough, then those of grid/, all of one class."""
    with open(data / "media.csv", encoding="utf-8", newline="") as file:
        both = [row for row in csv.DictReader(file) if row["ffmpeg_frames"] and row["ffmpeg_audio_seconds"]]
    long = [row for row in both if int(row["ffmpeg_frames"]) and float(row["ffmpeg_audio_seconds"]) >= SHORTEST_SECONDS]
    paths = [data / row["path"] for row in long]
    paths = [path for path in paths if path.suffix != ".ts"]  # ffmpeg loops one of them for ever
    paths += sorted((data / "grid").rglob("*.mp4"))
    return [Clip(f"c{number}", "clip", video_path=str(path.resolve())) for number, path in enumerate(paths[:count])]


def looped(clip: Clip, folder: Path) -> Clip:
    """A copy of a clip of 10 s in `folder`, unless it is there."""
    path = folder / f"{clip.clip_id}.mp4"
    if not path.exists():
        form = [text for name, value in (FORM | SOUND).items() for text in (f"-{name}", str(value))]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-stream_loop", "-1", "-i", clip.video_path]
        subprocess.run([*command, *form, str(path)], check=True)
    return dataclasses.replace(clip, video_path=str(path))


def seconds_of(builds: list[tuple[Path, Path, int]]) -> float:
    """Seconds that builds take together: (manifest, out, workers) of each."""
    begin = time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, "build-shards", manifest, "--out", out, "--workers", str(workers)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for manifest, out, workers in builds
    ]
    assert [process.wait() for process in running] == [0] * len(running)
    return time.monotonic() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=47)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps the looped clips")
    parser.add_argument("--as-they-are", action="store_true")
    arguments = parser.parse_args()
    clips = real_clips(arguments.data, arguments.clips)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not arguments.as_they_are:
            clips = [looped(clip, arguments.work or folder) for clip in clips]
        for title, rows in {"all": clips, "even": clips[::2], "odd": clips[1::2]}.items():
            write_manifest(folder / f"{title}.csv", rows)
        taken: dict[str, list[float]] = {"one worker": [], "two workers": [], "two builds of half": []}
        for run in range(arguments.runs):
            print(taken, flush=True)
            outs = [folder / f"{run}-{part}" for part in range(4)]
            taken["one worker"].append(seconds_of([(folder / "all.csv", outs[0], 1)]))
            taken["two workers"].append(seconds_of([(folder / "all.csv", outs[1], 2)]))
            halves = zip(("even.csv", "odd.csv"), outs[2:], strict=True)
            taken["two builds of half"].append(seconds_of([(folder / half, out, 1) for half, out in halves]))
            for shard in sorted(outs[0].glob("shards/**/*.tar")):
                assert shard.read_bytes() == (outs[1] / shard.relative_to(outs[0])).read_bytes(), shard
    one = statistics.median(taken["one worker"])
    for title, seconds in taken.items():
        median = statistics.median(seconds)
        each = " ".join(f"{value:.1f}" for value in seconds)
        print(f"{len(clips)} clips, {title}: {median:.1f} s ({each}), {one / median:.2f} times as fast as one worker")


if __name__ == "__main__":
    main()
