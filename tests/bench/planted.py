"""Rendered clips of which some were planted twice: re-encoded, rescaled, shifted by 0.2 s, cut to a part."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from avprep.manifest.clips import Clip
from avprep.manifest.read_write import write_manifest
from avprep.media.render import render_mp4
from avprep.synthetic import pictures, sounds

SHIFT_SECONDS = 0.2
WAYS = ("reencoded", "rescaled", "shifted", "cut")


def render_original(path: Path, number: int, seed: int) -> float:
    """Write a clip of one of eight shapes and timbres, as `avprep demo` renders them; its seconds."""
    draw = np.random.default_rng([seed, number])
    kind = number % len(sounds.TIMBRES)
    seconds = float(draw.uniform(6.0, 10.0))
    melody, scene = sounds.melody(draw, seconds), draw.uniform(size=2)
    times = np.arange(int(seconds * 25)) / 25
    flash, size = melody.loudness(times), 1 - melody.pitch(times)
    frames = pictures.draw_clip(pictures.SHAPES[kind], times, flash, size, scene, 112, 144, draw)
    samples = sounds.synthesise(sounds.TIMBRES[kind], melody, scene, seconds, 44_100, draw)
    render_mp4(path, frames, Fraction(25), samples, 44_100)
    return seconds


def render_copy(source: Path, path: Path, way: str, seconds: float, draw: np.random.Generator) -> None:
    """Write the clip once more, encoded again at a lower bitrate, and in the `way` that its name describes."""
    cut = []
    if way == "shifted":
        cut = ["-ss", str(SHIFT_SECONDS)]
    elif way == "cut":
        length = seconds * draw.uniform(0.5, 0.8)
        cut = ["-ss", f"{draw.uniform(0, seconds - length):.3f}", "-t", f"{length:.3f}"]
    scale = ["-vf", "scale=80:80"] if way == "rescaled" else []
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "34", "-c:a", "aac", "-b:a", "40k", "-threads", "1"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-loglevel", "error", "-i", str(source)]
    subprocess.run([*command, *cut, *scale, *coded, str(path)], check=True, capture_output=True)


def render_planted(folder: Path, originals: int, seed: int, threads: int = 2) -> tuple[Path, set[frozenset[str]]]:
    """(manifest, pairs of clip ids that are duplicates) of `originals` clips; each second one is there once more."""
    (folder / "clips").mkdir(parents=True)

    def render(number: int) -> list[Clip]:
        name = f"{seed}-{number:04d}"
        path = folder / "clips" / f"{name}.mp4"
        seconds = render_original(path, number, seed)
        draw = np.random.default_rng([seed, number, 1])
        label, split = sounds.TIMBRES[number % len(sounds.TIMBRES)], ("train", "test")[number % 4 == 3]
        clips = [Clip(name, label, split, video_path=f"clips/{path.name}", group=name)]
        if number % 2 == 0:
            way = WAYS[number // 2 % len(WAYS)]
            copy = path.with_name(f"{name}-{way}.mp4")
            render_copy(path, copy, way, seconds, draw)
            other = ("train", "test")[number // 8 % 2]
            clips.append(Clip(copy.stem, label, other, video_path=f"clips/{copy.name}", group=copy.stem))
            if number % 12 == 0:
                third = path.with_name(f"{name}-third.mp4")
                render_copy(path, third, "reencoded", seconds, draw)
                clips.append(Clip(third.stem, label, "train", video_path=f"clips/{third.name}", group=third.stem))
        return clips

    with ThreadPoolExecutor(threads) as pool:
        sets = list(pool.map(render, range(originals)))
    pairs = {frozenset((a.clip_id, b.clip_id)) for clips in sets for a, b in combinations(clips, 2)}
    write_manifest(folder / "manifest.csv", [clip for clips in sets for clip in clips])
    return folder / "manifest.csv", pairs
