"""Real files made by the ffmpeg program of the wheel, and what of a clip is compared."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.media.clip import DecodedClip, decode_clip


def render(path: Path, *arguments: str) -> Path:
    """`path`, written by ffmpeg with these arguments, one thread each."""
    quiet = ["-y", "-nostdin", "-loglevel", "error", "-filter_threads", "1"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *quiet, *arguments, str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def pattern(size: str, rate: str, seconds: float) -> list[str]:
    """ffmpeg's moving test picture as an input."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def tone(seconds: float) -> list[str]:
    """A sine as an input."""
    return ["-f", "lavfi", "-i", f"sine=f=440:r=48000:d={seconds}"]


def decoded(path: Path, decoder: str = "pyav", limits: Limits | None = None, **video: Any) -> DecodedClip:
    """The clip of a whole file."""
    config = BuildConfig(decoder=decoder, video=VideoSpec(**video))
    return decode_clip(path, None, None, None, config, limits or Limits())


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """The largest mean absolute difference of two pictures at the same place."""
    both = min(len(left), len(right))
    return float(np.abs(left[:both].astype(int) - right[:both]).mean(axis=(1, 2, 3)).max(initial=0.0))


def brightness_with_loudness(paths: list[Path]) -> list[float]:
    """For each clip, the correlation in time of its pictures' mean brightness with its sound's log power."""
    found = []
    for path in paths:
        clip = decoded(path)
        light = clip.frames.mean(axis=(1, 2, 3))
        power = (10 ** (clip.logmel.astype(float) / 10)).sum(axis=1)
        at = np.minimum(np.round(np.arange(len(light)) / 16 * 100).astype(int), len(power) - 1)
        if light.std() > 0 and power.std() > 0:
            found.append(float(np.corrcoef(light, np.log(power[at] + 1e-9))[0, 1]))
    return found
