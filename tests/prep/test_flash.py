"""A flash and a beep, in files of every clock: found in stored frames and log-mel when they happen."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.prep.rendering import decoded, render

SECONDS, EVENT = 3, Fraction(6, 5)
FRAME, HOP = Fraction(1, 16), Fraction(1, 100)
THIRD = ["-vf", "select='not(mod(n,3))+gt(t,0.7)'", "-fps_mode", "vfr"]
CASES = {
    "15 fps": ("15", "a.mp4", [], []),
    "24 fps": ("24", "a.mp4", [], []),
    "29.97 fps": ("30000/1001", "a.mp4", [], []),
    "30 fps": ("30", "a.mp4", [], []),
    "60 fps": ("60", "a.mp4", [], []),
    "variable": ("30", "a.mp4", [], THIRD),
    "variable mkv": ("30", "a.mkv", [], THIRD),
    "B-frames mkv": ("25", "a.mkv", [], ["-bf", "5", "-b_strategy", "0"]),
    "open B-frames ts": ("25", "a.ts", [], ["-bf", "3", "-x264-params", "open-gop=1"]),
    "starts at 5 s": ("25", "a.mkv", [], ["-output_ts_offset", "5"]),
    "edit list": ("25", "a.mp4", [], ["-output_ts_offset", "0.5"]),
    "late sound": ("25", "a.mp4", ["-itsoffset", "0.44"], []),
    "late sound mkv": ("30", "a.mkv", ["-itsoffset", "0.7"], []),
}


def film(path: Path, rate: str, before_sound: list[str], how: list[str]) -> Path:
    """Black turns white, and silence a tone of 2 kHz, EVENT seconds after the start of each track."""
    flash = f"color=c=black:s=64x64:r={rate}:d={SECONDS},drawbox=c=white:t=fill:enable='gte(t,{float(EVENT)})'"
    beep = f"aevalsrc='0.5*sin(2*PI*2000*t)*gte(t,{float(EVENT)})':s=44100:d={SECONDS}"
    codec = {".mp4": "aac", ".mkv": "pcm_s16le", ".ts": "mp2"}[path.suffix]
    inputs = ["-f", "lavfi", "-i", flash, *before_sound, "-f", "lavfi", "-i", beep]
    return render(path, *inputs, "-c:v", "libx264", "-g", "12", "-threads", "1", *how, "-c:a", codec)


OTHERS = ["30 fps", "variable", "starts at 5 s", "edit list", "late sound"]


@pytest.mark.parametrize(
    ("name", "decoder"), [(name, "pyav") for name in CASES] + [(n, d) for d in ("ffmpeg", "decord") for n in OTHERS]
)
def test_flash_and_beep_are_in_the_clip_when_they_happen(tmp_path, name, decoder):
    rate, file_name, before_sound, how = CASES[name]
    clip = decoded(film(tmp_path / file_name, rate, before_sound, how), decoder, frame_size=16)
    shown = Fraction(-(-EVENT * Fraction(rate) // 1)) / Fraction(rate)  # the first picture after the event
    flash = clip.video_start + shown - clip.span.start
    bright = int(np.flatnonzero(clip.frames.mean(axis=(1, 2, 3)) > 127)[0])
    assert 0 <= bright * FRAME - flash < FRAME
    late = Fraction(before_sound[1]) if before_sound else Fraction(0)
    beep = clip.video_start + late + EVENT - clip.span.start  # what a codec puts before the sound starts earlier
    loudness = 10 ** (clip.logmel.astype(float).max(axis=1) / 20)
    half = int(np.flatnonzero(loudness > np.median(loudness[-50:]) / 2)[0])  # half a window of tone: half as loud
    assert abs(half * HOP - beep) <= HOP
    assert abs(clip.av_offset_seconds - late) < 0.03
