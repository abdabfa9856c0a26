"""The log-mel of plain files: the build's own, bit for bit, of any length, and a bad file costs itself alone."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from avprep.audio_features import log_mel_of, log_mels, soundings
from avprep.config import LOGMEL_PRESETS, AudioSpec, BuildConfig, Limits
from avprep.errors import UserError
from avprep.manifest.read_write import Clip, write_manifest
from avprep.media.clip import decode_clip
from avprep.media.long import write_log_mel
from tests.conftest import FIXTURES

TEXT = LOGMEL_PRESETS["text-16k"]
GOOD = [
    "audio/elec_bell.ogg",
    "video/bbb_editlist.mp4",
    "video/bbb_mpeg4_mp3.avi",
    "video/bbb_mpeg1_mp2.mpg",
    "video/bbb_vfr.mkv",
    "video/bbb_vp9_opus.webm",
]


def write_wav(path: Path, seconds: float, rate_hz: int = 8000, seed: int = 0) -> Path:
    """A wav file of noise whose loudness wanders; returns `path`."""
    draw = np.random.default_rng(seed)
    count = int(seconds * rate_hz)
    loudness = np.interp(np.arange(count), np.linspace(0, count, 8), draw.uniform(0.001, 0.5, 8))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes((draw.uniform(-1, 1, count) * loudness * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("preset", LOGMEL_PRESETS)
@pytest.mark.parametrize("cut", [(None, None), (0.13, 0.37)], ids=["whole", "cut"])
def test_by_way_of_the_disk_the_log_mel_is_the_builds_bit_for_bit(tmp_path, preset, cut):
    spec = LOGMEL_PRESETS[preset]
    for name in GOOD:
        built = decode_clip(None, FIXTURES / name, *cut, BuildConfig(audio=spec), Limits())
        heard = write_log_mel(FIXTURES / name, *cut, spec, Limits(), tmp_path / "out.npy")
        found = np.load(tmp_path / "out.npy", allow_pickle=False)
        assert found.dtype == built.logmel.dtype
        np.testing.assert_array_equal(found, built.logmel)
        assert (heard.num_mel_frames, heard.duration_seconds) == (len(found), float(built.span.duration))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy"]


def test_a_file_of_several_blocks_too(tmp_path):
    path = write_wav(tmp_path / "long.wav", 25)
    spec = dataclasses.replace(TEXT, top_db=20.0)  # so that the loudest of all blocks decides what the others keep
    built = decode_clip(None, path, None, None, BuildConfig(audio=spec), Limits())
    np.testing.assert_array_equal(log_mel_of(path, spec), built.logmel)


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path):
    script = """
import re, sys
from pathlib import Path
from avprep.config import LOGMEL_PRESETS, Limits
from avprep.media.long import write_log_mel
write_log_mel(Path(sys.argv[1]), None, None, LOGMEL_PRESETS["text-16k"], Limits(), Path(sys.argv[2]))
print(re.search("VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    peaks = []
    for seconds in (5, 150):  # 150 s are 10 MB of samples, 8 MB of decibels
        path = write_wav(tmp_path / f"{seconds}.wav", seconds)
        command = [sys.executable, "-c", script, path, tmp_path / "out.npy"]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 5_000  # kB


def test_a_sound_shorter_than_a_window_goes_on_at_its_lowest_level(sounds):
    built = decode_clip(None, sounds / "elec_bell.ogg", None, None, BuildConfig(), Limits()).logmel
    found = log_mel_of(sounds / "elec_bell.ogg", {})
    assert len(built) < len(found) == 100
    np.testing.assert_array_equal(found[: len(built)], built)
    assert (found[len(built) :] == built.min()).all()


@pytest.mark.slow
def test_a_folder_is_read_in_order_and_a_bad_file_costs_itself(videos):
    found = list(log_mels(soundings(videos), AudioSpec(), workers=2))
    assert [one.sound.clip.clip_id for one in found] == [str(path) for path in sorted(videos.iterdir())]
    failed = {Path(one.sound.clip.clip_id).name: one.failure.reason for one in found if one.failure}
    assert failed == {
        "bbb_noaudio.mp4": "no-audio",
        "bbb_truncated.mp4": "truncated",
        "empty.mp4": "empty",
        "garbage.mp4": "not-media",
    }
    for one in found:
        if not one.failure:
            np.testing.assert_array_equal(one.logmel, log_mel_of(one.sound.clip.clip_id, AudioSpec()))


def test_a_manifest_chooses_the_part_of_a_file_that_is_read(tmp_path):
    path = write_wav(tmp_path / "long.wav", 6)
    write_manifest(
        tmp_path / "m.csv",
        [
            Clip("a", "x", audio_path="long.wav", end_seconds=2.5),
            Clip("b", "x", audio_path="long.wav", start_seconds=2.5),
        ],
    )
    found = list(log_mels(soundings(tmp_path / "m.csv"), AudioSpec(), workers=1))
    assert [(one.sound.clip.clip_id, one.seconds, len(one.logmel)) for one in found] == [
        ("a", 2.5, 251),
        ("b", 3.5, 351),
    ]
    whole = log_mel_of(path, AudioSpec())
    np.testing.assert_array_equal(found[1].logmel[10:], whole[260:])


def test_what_cannot_be_read_is_reported_in_a_sentence(tmp_path, videos):
    with pytest.raises(UserError, match=r"bbb_noaudio\.mp4 cannot be used: no-audio: no audio track"):
        log_mel_of(videos / "bbb_noaudio.mp4", AudioSpec())
    with pytest.raises(UserError, match="is no dataset and has no media files"):
        soundings(tmp_path)
    (tmp_path / os.fsdecode(b"\xff.wav")).write_bytes(b"RIFF")
    with pytest.raises(UserError, match="is not UTF-8; rename the file"):
        soundings(tmp_path)
    with pytest.raises(UserError, match="'pitch', which this version does not know"):
        log_mel_of(videos / "bbb_noaudio.mp4", {"pitch": 1})
