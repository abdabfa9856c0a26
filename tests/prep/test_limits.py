"""What one clip may cost: pixels, seconds, memory, processes; each limit costs that clip, before the cost is paid."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from avprep.build.tasks import ClipTask
from avprep.build.workers import Workers
from avprep.config import BuildConfig, Limits
from avprep.errors import ClipError
from avprep.manifest.read_write import Clip
from avprep.media.clip import decode_clip
from tests.conftest import REPOSITORY
from tests.prep.rendering import pattern, render, tone
from tests.processes import DECODER, processes_below

DECODERS = ["pyav", "ffmpeg", "decord", "auto"]
MEGABYTE = 1_000_000


def error_of(path: Path, decoder: str = "pyav", limits: Limits | None = None, **span: float) -> ClipError:
    with pytest.raises(ClipError) as caught:
        decode_clip(path, None, span.get("start"), span.get("end"), BuildConfig(decoder=decoder), limits or Limits())
    return caught.value


def bits(*fields: tuple[int, int] | int) -> bytes:
    """(value, width) as plain bits, a lone int as an Exp-Golomb code, with the stop bit, in whole bytes."""
    text = ""
    for field in fields:
        text += (
            f"{field[0]:0{field[1]}b}"
            if isinstance(field, tuple)
            else f"{field + 1:0{2 * (field + 1).bit_length() - 1}b}"
        )
    text += "1"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def sequence_of(side: int) -> bytes:
    """An H.264 sequence header (baseline, level 5.2) of `side` x `side` pixels."""
    blocks = side // 16 - 1
    body = bits((66, 8), (0, 8), (52, 8), 0, 0, 2, 1, (0, 1), blocks, blocks, (1, 1), (1, 1), (0, 1), (0, 1))
    return b"\x67" + body.replace(b"\0\0\0", b"\0\0\3\0")


def giant(path: Path, side: int) -> Path:
    """An mp4 whose H.264 stream claims pictures of `side` x `side` pixels, in 20 kB."""
    raw, wild = path.with_suffix(".64.h264"), path.with_suffix(".h264")
    plain = ["-profile:v", "baseline", "-x264-params", "ref=1:cabac=0", "-threads", "1", "-f", "h264"]
    render(raw, *pattern("64x64", "10", 1), "-c:v", "libx264", *plain)
    units = raw.read_bytes().replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    wild.write_bytes(b"".join(b"\0\0\0\1" + (sequence_of(side) if unit[0] & 31 == 7 else unit) for unit in units))
    return render(path, "-r", "10", "-i", str(wild), *tone(1), "-c:v", "copy", "-c:a", "aac", "-max_pixels", "1")


def peak_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def the_child() -> psutil.Process:
    [child] = processes_below(os.getpid(), DECODER)
    return child


def task(path: Path, tar: Path, decoder: str = "pyav") -> ClipTask:
    tar.touch()
    clip = Clip("a", "x", video_path=path.name)
    return ClipTask(clip, str(path.parent), BuildConfig(decoder=decoder), Limits(), str(tar), 0)


@pytest.mark.parametrize(
    ("decoder", "reason"),
    [("pyav", "too-large"), ("auto", "too-large"), ("ffmpeg", "no-video"), ("decord", "no-video")],
)
def test_a_header_of_30000_by_30000_pixels_is_refused(tmp_path, decoder, reason):
    """A PNG in AVI, whose two headers alone are changed."""
    path = render(tmp_path / "a.avi", *pattern("64x64", "5", 1), *tone(1), "-c:v", "png", "-c:a", "pcm_s16le")
    small, large = (64).to_bytes(4, "big") * 2, (30_000).to_bytes(4, "big") * 2
    data = path.read_bytes().replace(b"IHDR" + small, b"IHDR" + large)
    at = data.index(b"strf") + 12
    path.write_bytes(data[:at] + (30_000).to_bytes(4, "little") * 2 + data[at + 8 :])
    assert error_of(path, decoder).reason == reason


@pytest.mark.slow
def test_too_many_pixels_are_refused_before_their_memory_is_taken(tmp_path, videos):
    """16000 x 16000 is the most that FFmpeg itself lets through: 0.7 GB at the first look, if it is let."""
    path = giant(tmp_path / "a.mp4", 16_000)
    with Workers(1, Limits()) as workers:
        for decoder in DECODERS:
            workers.run(task(videos / "bbb_h264_aac.mp4", tmp_path / "a.tar", decoder))
            before = peak_bytes(the_child().pid)
            with pytest.raises(ClipError) as caught:
                workers.run(task(path, tmp_path / "a.tar", decoder))
            assert caught.value.reason == "too-large"
            assert "16000x16000" in caught.value.detail
            assert peak_bytes(the_child().pid) - before < 150 * MEGABYTE


def test_pictures_that_grow_beyond_the_limit_on_the_way_are_too_large(tmp_path):
    def part(side: int, begin: int) -> Path:
        return render(
            tmp_path / f"{side}.ts",
            *pattern(f"{side}x{side}", "10", 1),
            *tone(1),
            "-output_ts_offset",
            f"{begin}",
        )

    small, large = part(64, 0), part(640, 1)
    (tmp_path / "a.ts").write_bytes(small.read_bytes() + large.read_bytes())
    error = error_of(tmp_path / "a.ts", limits=Limits(max_pixels=400 * 400))
    assert (error.reason, "640x640" in error.detail) == ("too-large", True)


@pytest.mark.parametrize("decoder", DECODERS)
def test_hours_in_the_header_are_too_long_without_decoding(tmp_path, videos, decoder):
    path = tmp_path / "a.mkv"
    length = b"\x44\x89\x88"  # Duration, 8 bytes, in milliseconds
    data = (videos / "bbb_vfr.mkv").read_bytes()
    at = data.index(length) + len(length)
    untagged = data[at + 8 :].replace(b"DURATION", b"duration")  # else each track's own length is what counts
    path.write_bytes(data[:at] + struct.pack(">d", 36e6) + untagged)
    error = error_of(path, decoder)
    assert (error.reason, "36000.0 s by its header" in error.detail) == ("too-long", True)
    cut = decode_clip(path, None, 0.5, 1.5, BuildConfig(decoder=decoder), Limits())
    assert len(cut.frames) == 16


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
@pytest.mark.parametrize("longer", ["pictures", "sound"])
def test_what_no_header_gives_is_too_long_when_it_gets_there(tmp_path, longer, decoder):
    seconds = (4, 1) if longer == "pictures" else (1, 4)
    live = ["-f", "matroska", "-live", "1"]
    path = render(tmp_path / "a.mkv", *pattern("64x64", "10", seconds[0]), *tone(seconds[1]), *live)
    error = error_of(path, decoder, Limits(max_clip_seconds=2))
    assert (error.reason, longer in error.detail) == ("too-long", True)


@pytest.mark.slow
def test_one_decoder_stays_below_400_megabytes_at_1080p_and_60_seconds(tmp_path):
    still = ["-f", "lavfi", "-i", "testsrc=s=1920x1080:r=2:d=60"]
    path = render(tmp_path / "a.mp4", *still, *tone(60), "-c:v", "libx264", "-preset", "ultrafast", "-refs", "4")
    with Workers(1, Limits()) as workers:
        record = workers.run(task(path, tmp_path / "a.tar"))
        assert (record.index["num_frames"], record.index["num_mel_frames"]) == (960, 6001)
        assert peak_bytes(the_child().pid) < 400 * MEGABYTE


def test_what_comes_before_a_cut_takes_no_memory(tmp_path):
    path = render(tmp_path / "a.wav", "-f", "lavfi", "-i", "sine=f=440:r=48000:d=600")
    clip = decode_clip(None, path, 590.0, 591.0, BuildConfig(), Limits())
    whole = decode_clip(None, path, 589.0, 592.0, BuildConfig(), Limits())
    assert np.abs(clip.logmel[3:-3].astype(float) - whole.logmel[103:198]).max() < 0.1
    from avprep.media import with_pyav
    from avprep.media.audio import Wanted, read_audio

    with with_pyav.open_sound(path, Limits()) as sound:
        track = read_audio(sound, 48_000, Wanted(limit_seconds=900, start_seconds=590, end_seconds=591))
    assert len(track.samples) < 2 * 48_000


@pytest.mark.slow
def test_auto_takes_what_pyav_cannot_read_to_ffmpeg_and_records_it(tmp_path, videos):
    """AVS2: the ffmpeg of the wheel has a decoder, PyAV none."""
    path = render(tmp_path / "a.mkv", *pattern("128x96", "25", 1), *tone(1), "-c:v", "libxavs2", "-c:a", "aac")
    assert error_of(path).reason == "no-video"
    with Workers(1, Limits()) as workers:
        workers.run(task(path, tmp_path / "a.tar", "auto"))
        workers.run(task(videos / "bbb_h264_aac.mp4", tmp_path / "b.tar", "auto"))
    assert [written_by(tmp_path / name) for name in ("a.tar", "b.tar")] == ["ffmpeg", "pyav"]


def written_by(tar: Path) -> str:
    with tarfile.open(tar) as opened:
        member = next(m for m in opened.getmembers() if m.name.endswith(".json"))
        return json.load(opened.extractfile(member))["decoder"]


def test_auto_gives_pyavs_reason_where_neither_can(videos):
    assert error_of(videos / "garbage.mp4", "auto").reason == "not-media"
    assert error_of(videos / "bbb_truncated.mp4", "auto").reason == "truncated"
    assert error_of(videos / "bbb_noaudio.mp4", "auto").reason == "no-audio"


HELD = """
import pathlib, signal, subprocess, sys, time
from avprep.config import Limits, VideoSpec
from avprep.media import with_ffmpeg
with with_ffmpeg.open_pictures(pathlib.Path(sys.argv[1]), VideoSpec(frame_size=1024), Limits()):
    print("open", flush=True)
    time.sleep(600)
"""


def test_the_ffmpeg_child_dies_with_its_decoder_even_when_it_hangs(videos):
    """Killed like a worker past its deadline; a stopped child would notice no closed pipe."""
    command = [sys.executable, "-c", HELD, str(videos / "bbb_h264_aac.mp4")]
    decoder = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert decoder.stdout.readline() == b"open\n"
    [child] = psutil.Process(decoder.pid).children()
    os.kill(child.pid, signal.SIGSTOP)
    decoder.kill()
    decoder.wait()
    limit = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_no_ffmpeg_child_outlives_its_clip(videos):
    assert error_of(videos / "bbb_vfr.mkv", "ffmpeg", Limits(max_clip_seconds=1)).reason == "too-long"
    decode_clip(videos / "bbb_vfr.mkv", None, None, 0.5, BuildConfig(decoder="ffmpeg"), Limits())
    assert [child for child in psutil.Process().children() if "ffmpeg" in child.name()] == []


def test_an_encrypted_track_is_reported_as_one(real_data):
    for name in ("drm__sample_av1c_fragmented_clearkey", "mp4__sample_fragmented_sgpd_v2"):
        error = error_of(real_data / "media" / f"androidx_media__{name}.mp4", "auto")
        assert (error.reason, error.detail) == ("encrypted", "sample entry encv")
