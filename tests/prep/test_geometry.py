"""Which way is up, what is in the middle, how many pixels, bits and channels: pictures and sounds of every make."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.media import frames
from avprep.media.clip import decode_clip
from tests.prep.by_librosa import librosa
from tests.prep.rendering import decoded, difference, pattern, render, tone


def with_matrix(source: Path, target: Path, a: float, b: float, c: float, d: float) -> Path:
    """`source`, an mp4 with pictures first, with another display matrix in the header of its first track."""
    data = bytearray(source.read_bytes())
    position = data.index(b"tkhd") + 4 + 40
    fixed = [int(value * 65536) for value in (a, b)] + [0] + [int(value * 65536) for value in (c, d)] + [0, 0, 0]
    data[position : position + 36] = struct.pack(">9i", *fixed, 1 << 30)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1),
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_turned_and_mirrored_as_ffmpeg_does(tmp_path, videos, matrix):
    path = with_matrix(videos / "bbb_h264_aac.mp4", tmp_path / "a.mp4", *matrix)
    ours, theirs = decoded(path), decoded(path, "ffmpeg")
    assert difference(ours.frames[:8], theirs.frames[:8]) < 5
    if matrix != (1, 0, 0, 1):
        assert difference(ours.frames[:8], decoded(videos / "bbb_h264_aac.mp4").frames[:8]) > 15


def test_another_angle_counts_as_the_nearest_quarter_turn(tmp_path, videos):
    a, b = np.cos(np.radians(80)), np.sin(np.radians(80))
    near = with_matrix(videos / "bbb_h264_aac.mp4", tmp_path / "a.mp4", a, b, -b, a)
    exact = with_matrix(videos / "bbb_h264_aac.mp4", tmp_path / "b.mp4", 0, 1, -1, 0)
    assert np.array_equal(decoded(near).frames, decoded(exact).frames)


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg", "decord"])
def test_crop_keeps_the_middle_in_its_display_shape(tmp_path, decoder):
    """A 4:3 picture stored in 3:2 pixels: a centred square as displayed fills the frame's middle as a square."""
    square = "drawbox=x=(iw-128)/2:y=(ih-96)/2:w=128:h=96:color=white:t=fill,setsar=3/4"
    black = ["-f", "lavfi", "-i", f"color=c=black:s=384x192:r=25:d=1,{square}", *tone(1)]
    path = render(tmp_path / "a.mp4", *black, "-c:v", "libx264", "-c:a", "aac", "-pix_fmt", "yuv420p")
    frame = decoded(path, decoder, frame_size=64, resize="crop").frames[4].mean(axis=2)
    rows, columns = np.flatnonzero(frame[:, 32] > 128), np.flatnonzero(frame[32] > 128)
    for found in (rows, columns):
        assert abs(found[0] - 16) <= 1
        assert abs(found[-1] - 47) <= 1
    wide = decoded(path, decoder, frame_size=64).frames[4].mean(axis=2)
    assert abs(np.flatnonzero(wide[32] > 128)[0] - 21) <= 1  # stretched: a third of the width


def test_no_header_makes_the_scaled_picture_huge():
    spec = VideoSpec(frame_size=100, resize="crop")
    assert frames.scaled_size(1000, 500, None, spec) == (200, 100)
    assert frames.scaled_size(500, 1000, Fraction(1), spec) == (100, 200)
    assert frames.scaled_size(400, 400, Fraction(3, 2), spec) == (150, 100)
    assert frames.scaled_size(4000, 2, Fraction(30000), spec) == (1600, 100)
    assert frames.scaled_size(4000, 2, Fraction(0), VideoSpec()) == (112, 112)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A test picture of a size in a pixel format and codec, written once for all decoders."""

    @cache
    def path_of(size, pixels, codec):
        quiet = ["-x265-params", "log-level=none"] if codec == "libx265" else []
        options = ["-pix_fmt", pixels, "-c:v", codec, *quiet, "-b:v", "2M", "-c:a", "aac"]
        return render(tmp_path_factory.mktemp("encoded") / "a.mkv", *pattern(size, "16", 1), *tone(1), *options)

    return path_of


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
@pytest.mark.parametrize(
    ("size", "pixels", "codec"),
    [
        ("161x121", "yuv444p", "libx264"),
        ("162x122", "yuv420p10le", "libx264"),
        ("162x122", "yuv422p10le", "libx265"),
        ("161x121", "gray", "ffv1"),
        ("161x121", "yuv420p", "libvpx-vp9"),
    ],
)
def test_odd_sizes_depths_and_chroma_look_alike(encoded, decoder, size, pixels, codec):
    clip = decoded(encoded(size, pixels, codec), decoder, frame_size=48)
    plain = encoded(size, "bgr0", "ffv1")
    want = decoded(plain, decoder, frame_size=48).frames
    grey = clip.frames.mean(axis=3, keepdims=True)
    wanted_grey = (want @ np.array([0.299, 0.587, 0.114]))[..., None]
    assert len(clip.frames) == 16
    assert difference(grey if pixels == "gray" else clip.frames, wanted_grey if pixels == "gray" else want) < 12


@pytest.mark.parametrize(
    ("channels", "rate", "codec", "suffix"),
    [
        ("mono", 8000, "pcm_s16le", "wav"),
        ("stereo", 11025, "pcm_u8", "wav"),
        ("5.1", 48000, "ac3", "mkv"),
        ("stereo", 96000, "flac", "flac"),
        ("5.1", 192000, "pcm_s24le", "wav"),
        ("mono", 16000, "libopus", "ogg"),
    ],
)
def test_a_tone_of_any_rate_and_layout_is_that_tone(tmp_path, channels, rate, codec, suffix):
    source = ["-f", "lavfi", "-i", f"sine=f=1000:r={rate}:d=2", "-af", f"aformat=channel_layouts={channels}"]
    path = render(tmp_path / f"a.{suffix}", *source, "-c:a", codec)
    nearest = np.abs(librosa().mel_frequencies(130, fmin=0, fmax=24_000)[1:-1] - 1000).argmin()
    for decoder in ("pyav", "ffmpeg", "decord"):
        clip = decode_clip(None, path, None, None, BuildConfig(decoder=decoder), Limits())
        assert abs(len(clip.logmel) - 201) <= 8  # codecs pad
        loudest = clip.logmel[20:180].astype(float).mean(axis=0).argmax()
        assert loudest == nearest


def test_sound_without_timestamps_and_pictures_without_any_go_on_step_by_step(videos):
    """MPEG-4 in AVI: no display times at all; the picture after the first was left out by its encoder."""
    clip, plain = decoded(videos / "bbb_mpeg4_mp3.avi"), decoded(videos / "bbb_h264_aac.mp4")
    assert len(clip.frames) == 33
    late = [np.abs(clip.frames[8:30].astype(int) - plain.frames[8 - k : 30 - k]).mean() for k in range(-2, 4)]
    assert np.argmin(late) == 3  # one of the file's own steps, 1/15 s, as its index says
