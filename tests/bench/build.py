"""build-shards against its limit and against decord, in one run, interleaved: 10 s clips of 640x360 H.264, two workers.

The limit: the same number of processes decode every packet of picture and sound, resample, compute the log-mel, copy
what a stored clip has once and keep nothing. They shrink no picture; a second limit shrinks the 160 that a clip has.
Seconds are from the first process's start to the last byte.

    python -m tests.bench.build CLIP... [--clips-in-all 192] [--runs 5]    (CLIP: any videos to render the clips from)
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg

from avprep.build.run import build_shards
from avprep.build.workers import THREAD_VARIABLES
from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.manifest.read_write import Clip, write_manifest

SOURCES = 8
FILTER = VideoSpec().resize_filter.upper()
SECONDS = 10
CLASSES = 16


def rendered(source: Path, out: Path, noise: bool = True) -> None:
    """`source`, looped and scaled to 10 s of 640x360 at 25 fps, with some noise or none, x264's defaults, AAC."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", "-stream_loop", "-1", "-i", str(source)]
    filters = "scale=640:360,noise=alls=6:allf=t" if noise else "scale=640:360"
    command += ["-t", str(SECONDS), "-vf", filters, "-r", "25", "-c:v", "libx264"]
    command += ["-pix_fmt", "yuv420p", "-crf", "23", "-c:a", "aac", "-ar", "44100", "-ac", "2", str(out)]
    subprocess.run(command, check=True)


def limit_of(paths: list[str], shrink: bool) -> None:
    """Decode all of each file, with `shrink` shrink a picture for each sixteenth of a second; one copy at the end."""
    import av
    import numpy as np

    from avprep.media.logmel import log_mel

    frames = np.zeros((16 * SECONDS, 112, 112, 3), np.uint8)
    for path in paths:
        with av.open(path) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            video.thread_type = audio.codec_context.thread_type = "NONE"
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000)
            reformatter = av.video.reformatter.VideoReformatter()
            pieces, tick = [], 0
            for packet in container.demux(video, audio):
                for frame in packet.decode():
                    if packet.stream is audio:
                        pieces.extend(out.to_ndarray()[0] for out in resampler.resample(frame))
                    elif shrink and 16 * frame.time >= tick and tick < len(frames):
                        planes = reformatter.reformat(frame, 112, 112, "gbrp", interpolation=FILTER).planes
                        for channel, plane in zip((1, 2, 0), planes, strict=True):
                            frames[tick, :, :, channel] = np.frombuffer(plane, np.uint8).reshape(112, -1)[:, :112]
                        tick += 1
        log_mel(np.concatenate(pieces), AudioSpec())
        frames.copy()


def run_limit(clips: list[Path], workers: int, shrink: bool) -> None:
    context = multiprocessing.get_context("spawn")
    parts = [[str(path) for path in clips[part::workers]] for part in range(workers)]
    processes = [context.Process(target=limit_of, args=(part, shrink)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def run_build(manifest: Path, out: Path, workers: int, decoder: str) -> None:
    config = BuildConfig(decoder=decoder)
    assert not build_shards(manifest, out, config, Limits(), workers=workers).failures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--clips-in-all", type=int, default=192)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # for the limit's processes too
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [folder / f"{number}.mp4" for number in range(min(SOURCES, len(arguments.clips)))]
        for clip, source in zip(arguments.clips, sources, strict=False):
            rendered(clip, source)
        clips = [sources[number % len(sources)] for number in range(arguments.clips_in_all)]
        manifest = folder / "clips.csv"
        write_manifest(manifest, [Clip(str(n), f"class {n % CLASSES}", "train", str(p)) for n, p in enumerate(clips)])
        contenders = {
            "limit": lambda: run_limit(clips, arguments.workers, shrink=False),
            "limit that shrinks": lambda: run_limit(clips, arguments.workers, shrink=True),
            "build-shards": lambda: run_build(manifest, folder / "out", arguments.workers, "pyav"),
            "build-shards with decord": lambda: run_build(manifest, folder / "out", arguments.workers, "decord"),
        }
        seconds: dict[str, list[float]] = {title: [] for title in contenders}
        for _ in range(arguments.runs):
            for title, run in contenders.items():
                shutil.rmtree(folder / "out", ignore_errors=True)
                begin = time.perf_counter()
                run()
                seconds[title].append(time.perf_counter() - begin)
        for title, times in seconds.items():
            print(f"{title:25s} median {statistics.median(times):6.2f} s of {[round(t, 2) for t in times]}")
        for title in ("limit", "limit that shrinks", "build-shards with decord"):
            ratios = [a / b for a, b in zip(seconds[title], seconds["build-shards"], strict=True)]
            print(f"seconds of {title} over seconds of build-shards: median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
