"""Real files decoded: counts, clocks, content, and a reason for each file that cannot be used."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media.clip import decode_clip
from avprep.media.logmel import log_mel
from avprep.media.render import render_mp4
from tests.prep.by_librosa import librosa

CONFIG = BuildConfig()


def decode(video: Path | None, audio: Path | None = None, start=None, end=None, config=CONFIG, limits=None):
    return decode_clip(video, audio, start, end, config, limits or Limits())


def reason_of(*arguments, **options) -> str:
    with pytest.raises(ClipError) as caught:
        decode(*arguments, **options)
    assert "/" not in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize(
    "name",
    [
        "bbb_h264_aac.mp4",
        "bbb_mpeg1_mp2.mpg",
        "bbb_mpeg4_mp3.avi",
        "bbb_vfr.mkv",
        "bbb_vp9_opus.webm",
        "webm_named.mp4",
    ],
)
def test_every_container_gives_the_same_pictures(videos, name):
    clip, plain = decode(videos / name), decode(videos / "bbb_h264_aac.mp4")
    assert clip.frames.dtype == np.uint8
    assert clip.frames.shape[1:] == (112, 112, 3)
    assert len(clip.frames) == int(16 * clip.span.duration)
    assert clip.logmel.dtype == np.float16
    assert clip.logmel.shape == (1 + int(100 * clip.span.duration), 128)
    assert abs(len(clip.frames) - len(plain.frames)) <= 1
    both = min(len(clip.frames), len(plain.frames))
    difference = np.abs(clip.frames[:both].astype(int) - plain.frames[:both])
    assert np.median(difference) <= 6  # each was encoded anew, at a low rate


def test_rotation_is_applied(videos):
    turned, plain = decode(videos / "bbb_rot90.mp4"), decode(videos / "bbb_h264_aac.mp4")
    assert np.abs(np.rot90(plain.frames, 1, axes=(1, 2)).astype(int) - turned.frames).mean() < 1


def test_an_edit_list_is_obeyed(videos):
    cut = decode(videos / "bbb_editlist.mp4")
    assert cut.span.duration < 2
    whole = decode(videos / "bbb_h264_aac.mp4")
    errors = [np.abs(whole.frames[k : k + 8].astype(int) - cut.frames[:8]).mean() for k in range(len(whole.frames) - 8)]
    assert int(np.argmin(errors)) > 4


def test_a_span_of_a_file(videos):
    whole, part = decode(videos / "bbb_h264_aac.mp4"), decode(videos / "bbb_h264_aac.mp4", None, 0.5, 1.5)
    assert part.span.duration == 1
    assert np.array_equal(part.frames, whole.frames[8:24])
    assert np.abs(part.logmel[3:-3].astype(float) - whole.logmel[53:148]).max() < 0.1


def test_picture_and_sound_from_two_files(videos, sounds):
    clip = decode(videos / "bbb_h264_aac.mp4", videos / "bbb_novideo.m4a")
    assert len(clip.frames) == int(16 * clip.span.duration)
    sound = decode(None, sounds / "bass_drop_c.ogg")
    assert sound.frames is None
    assert sound.logmel.shape == (101, 128)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.mp4", "empty"),
        ("garbage.mp4", "not-media"),
        ("bbb_truncated.mp4", "truncated"),
        ("bbb_noaudio.mp4", "no-audio"),
        ("bbb_novideo.m4a", "no-video"),
        ("nowhere.mp4", "missing"),
    ],
)
def test_unusable_files_have_their_reasons(videos, name, reason):
    assert reason_of(videos / name) == reason


def test_text_named_mp4_is_not_media(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("This is not a film.\n" * 50)
    assert reason_of(path) == "not-media"


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nreal.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile real.mp4\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    ],
    ids=["playlist", "concat", "sdp"],
)
@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg", "decord", "auto"])
def test_a_script_that_names_other_files_opens_nothing(tmp_path, videos, text, decoder):
    """Each lies beside the real file that it names by a safe, relative name: FFmpeg alone opens the concat script."""
    for name in ("real.mp4", "real.ts"):
        shutil.copy(videos / "bbb_h264_aac.mp4", tmp_path / name)
    path = tmp_path / "a.mp4"
    path.write_text(text)
    assert reason_of(path, config=BuildConfig(decoder=decoder)) == "not-media"


def test_limits(videos):
    assert reason_of(videos / "bbb_h264_aac.mp4", limits=Limits(max_pixels=100)) == "too-large"
    assert reason_of(videos / "bbb_h264_aac.mp4", limits=Limits(max_file_bytes=100)) == "too-large"
    assert reason_of(videos / "bbb_h264_aac.mp4", limits=Limits(max_clip_seconds=1)) == "too-long"


def test_log_mel_of_a_tone_is_where_and_as_loud_as_by_the_formula():
    spec = AudioSpec()
    samples = np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000).astype(np.float32)
    found = log_mel(samples, spec).astype(np.float64)
    assert found.shape == (101, 128)
    window = np.hanning(2049)[:-1]
    spectrum = np.abs(np.fft.rfft(samples[24_000 - 1024 : 24_000 + 1024] * window))
    bands = librosa().filters.mel(sr=48_000, n_fft=2048, n_mels=128) @ spectrum
    expected = 20 * np.log10(np.maximum(bands, 1e-5))
    assert np.abs(found[50] - np.maximum(expected, found.max() - 100)).max() < 0.1


def test_resize_is_antialiased(tmp_path):
    """One-pixel stripes of black and white shrink to grey, not to aliases."""
    frames = np.zeros((30, 256, 256, 3), np.uint8)
    frames[:, :, ::2] = 255
    render_mp4(tmp_path / "a.mp4", frames, Fraction(15), np.zeros(96_000, np.float32) + 0.01, 48_000)
    clip = decode(tmp_path / "a.mp4", config=BuildConfig(video=VideoSpec(frame_size=32)))
    assert np.abs(clip.frames[:, 4:-4, 4:-4].astype(int) - 128).max() < 40


def test_a_short_cut_of_a_long_file_is_not_too_long(videos):
    clip = decode(videos / "bbb_h264_aac.mp4", None, 1.0, 1.5, limits=Limits(max_clip_seconds=0.6))
    assert clip.span.duration == Fraction(1, 2)


def test_a_tag_that_is_not_utf8_does_no_harm(tmp_path):
    path = tmp_path / "a.wav"
    samples = np.zeros(48_000, "<i2").tobytes()
    title = b"INAM\x05\x00\x00\x00Caf\xe9\x00\x00"
    info = b"LIST" + (4 + len(title)).to_bytes(4, "little") + b"INFO" + title
    fmt = b"fmt \x10\x00\x00\x00\x01\x00\x01\x00" + (48_000).to_bytes(4, "little") + (96_000).to_bytes(4, "little")
    body = b"WAVE" + fmt + b"\x02\x00\x10\x00" + info + b"data" + len(samples).to_bytes(4, "little") + samples
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert decode(None, path).logmel.shape == (101, 128)


def test_a_picture_track_that_no_decoder_knows_has_a_reason(tmp_path, videos):
    path = tmp_path / "a.mp4"
    path.write_bytes((videos / "bbb_h264_aac.mp4").read_bytes().replace(b"avc1", b"xyz9"))
    assert reason_of(path) == "no-video"


def test_a_sound_track_that_no_decoder_knows_has_a_reason(real_data):
    assert reason_of(None, real_data / "media" / "androidx_media__mp4__sample_ac4.mp4") == "no-audio"
