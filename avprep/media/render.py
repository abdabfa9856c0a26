"""Writes pictures and sound as a real mp4 file (H.264 + AAC) with the ffmpeg binary that comes in a wheel."""

from __future__ import annotations

import subprocess
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np

from avprep.shared.store import atomic_path


def render_mp4(
    path: Path, frames: np.ndarray, frame_rate_hz: Fraction, samples: np.ndarray, sample_rate_hz: int
) -> None:
    """Encode frames uint8 [T, H, W, 3] (H and W even) and mono samples float32 [N] in [-1, 1], atomically.

    The same input gives the same bytes for one version of ffmpeg (one thread, bitexact flags).
    Errors: RuntimeError with ffmpeg's last line.
    """
    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory(prefix="avprep-") as folder, atomic_path(path) as temporary:
        sound = Path(folder) / "sound.wav"
        with wave.open(str(sound), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(sample_rate_hz)
            out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        pictures = ffmpeg.input(
            "pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=str(frame_rate_hz), threads=1
        )
        output = (
            ffmpeg.output(
                pictures,
                ffmpeg.input(str(sound)),
                str(temporary),
                format="mp4",
                vcodec="libx264",
                acodec="aac",
                pix_fmt="yuv420p",
                preset="ultrafast",
                crf=23,
                threads=1,
                fflags="+bitexact",
                **{"flags:v": "+bitexact", "flags:a": "+bitexact", "b:a": "96k"},
            )
            .global_args("-loglevel", "error", "-nostdin")
            .overwrite_output()
        )
        done = subprocess.run(
            output.compile(cmd=imageio_ffmpeg.get_ffmpeg_exe()),
            input=np.ascontiguousarray(frames).tobytes(),
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().split("\n")
            raise RuntimeError(f"ffmpeg could not write {path.name}: {lines[-1] or done.returncode}")
