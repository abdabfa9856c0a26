"""Recordings joined byte for byte: all of it in order, or the reason clock-restarts; never pictures of one part with
the sound of another, and never the first part alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media.clip import DecodedClip, decode_clip
from avprep.media.logmel import band_centres_hz
from avprep.media.long import write_log_mel
from tests.prep.rendering import render

PARTS = (("red", 440), ("blue", 7040))
SECONDS = 2
MPEG2 = ("-c:v", "mpeg2video", "-c:a", "mp2")
FILMS = {
    "ts": (),
    "mkv": (),
    "flv": (),
    "mov": (),
    "mp4": (),
    "mpg": MPEG2,
    "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"),
    "wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
}
SOUNDS = {
    "ogg": "libvorbis",
    "opus": "libopus",
    "oga": "flac",
    "flac": "flac",
    "wav": "pcm_s16le",
    "aiff": "pcm_s16be",
    "caf": "pcm_s16le",
    "w64": "pcm_s16le",
    "wma": "wmav2",
    "m4a": "aac",
}


def joined(folder: Path, suffix: str, *options: str, pictures: bool = True) -> Path:
    """Red at 440 Hz for 2 s, then blue at 7,040 Hz: two files joined as `cat` does it."""
    out = folder / f"joined.{suffix}"
    with open(out, "wb") as whole:
        for colour, hz in PARTS:
            shown = ["-f", "lavfi", "-i", f"color=c={colour}:s=64x48:r=25:d={SECONDS}"] if pictures else []
            heard = ["-f", "lavfi", "-i", f"sine=f={hz}:r=48000:d={SECONDS}"]
            whole.write(render(folder / f"{colour}.{suffix}", *shown, *heard, *options).read_bytes())
    return out


def decoded(path: Path, decoder: str = "pyav", pictures: bool = True) -> DecodedClip:
    config = BuildConfig(decoder=decoder, video=VideoSpec(frame_size=16))
    return decode_clip(path if pictures else None, None if pictures else path, None, None, config, Limits())


def reason_of(path: Path, decoder: str = "pyav", pictures: bool = True) -> str:
    with pytest.raises(ClipError) as caught:
        decoded(path, decoder, pictures)
    return caught.value.reason


def loudest_hz(clip: DecodedClip, seconds: float) -> float:
    return float(band_centres_hz(48_000, 128)[clip.logmel[round(100 * seconds)].argmax()])


def in_order(clip: DecodedClip) -> bool:
    """Whether both parts are heard, and seen where there are pictures, one after the other."""
    heard = [loudest_hz(clip, seconds) for seconds in (1, 3)]
    right = all(abs(np.log2(hz / wanted)) < 0.25 for hz, (_, wanted) in zip(heard, PARTS, strict=True))
    if clip.frames is not None:
        right = right and [int(clip.frames[k].mean(axis=(0, 1)).argmax()) for k in (16, 48)] == [0, 2]
    return right


@pytest.mark.parametrize("suffix", FILMS)
def test_films_joined_byte_for_byte_are_not_mixed(tmp_path, suffix):
    assert reason_of(joined(tmp_path, suffix, *FILMS[suffix])) == "clock-restarts"


@pytest.mark.parametrize("decoder", ["ffmpeg", "decord"])
@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_other_decoders_do_not_mix_them_either(tmp_path, suffix, decoder):
    assert reason_of(joined(tmp_path, suffix), decoder) == "clock-restarts"


@pytest.mark.parametrize("suffix", SOUNDS)
def test_sounds_joined_byte_for_byte_do_not_lie_over_each_other(tmp_path, suffix):
    path = joined(tmp_path, suffix, "-c:a", SOUNDS[suffix], pictures=False)
    assert reason_of(path, pictures=False) == "clock-restarts"
    with pytest.raises(ClipError, match="clock-restarts"):
        write_log_mel(path, None, None, AudioSpec(), Limits(), tmp_path / "out.npy")


@pytest.mark.parametrize(("magic", "mode", "size"), [(b"#!AMR\n", 7, 32), (b"#!AMR-WB\n", 2, 33)])
def test_speech_joined_byte_for_byte_is_not_read_out_of_step(tmp_path, magic, mode, size):
    """FFmpeg writes no AMR here: frames of any bits are sound too. It takes the second header for a frame."""
    draw = np.random.default_rng(0)
    one = magic + b"".join(bytes([mode << 3 | 4]) + draw.bytes(size - 1) for _ in range(100))
    (tmp_path / "one.amr").write_bytes(one)
    assert decoded(tmp_path / "one.amr", pictures=False).logmel.shape[0] == 201
    (tmp_path / "joined.amr").write_bytes(one + one)
    assert reason_of(tmp_path / "joined.amr", pictures=False) == "clock-restarts"


@pytest.mark.parametrize(("suffix", "codec"), [("mp3", "libmp3lame"), ("aac", "aac")])
def test_elementary_streams_go_on(tmp_path, suffix, codec):
    assert in_order(decoded(joined(tmp_path, suffix, "-c:a", codec, pictures=False), pictures=False))


def test_avi_goes_on(tmp_path):
    assert in_order(decoded(joined(tmp_path, "avi", "-c:v", "mpeg4", "-c:a", "libmp3lame")))


def test_fragments_whose_clock_restarts_are_not_mixed(tmp_path):
    path = joined(tmp_path, "mp4", "-movflags", "frag_keyframe+empty_moov")
    assert reason_of(path) == "clock-restarts"


def test_fragments_that_go_on_behind_a_repeated_header_are_one_recording(tmp_path):
    """As a segmented stream is saved: each segment with the header before it."""
    (red, low), (blue, high) = PARTS
    render(
        tmp_path / "list.m3u8",
        *("-f", "lavfi", "-i", f"color=c={red}:s=64x48:r=25:d={SECONDS}[out0]"),
        *("-f", "lavfi", "-i", f"color=c={blue}:s=64x48:r=25:d={SECONDS}[out0]"),
        *("-f", "lavfi", "-i", f"sine=f={low}:r=48000:d={SECONDS}", "-f", "lavfi", "-i"),
        f"sine=f={high}:r=48000:d={SECONDS}",
        *("-filter_complex", "[0:v][2:a][1:v][3:a]concat=n=2:v=1:a=1[v][a]", "-map", "[v]", "-map", "[a]", "-g", "50"),
        *("-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", "2"),
    )
    header = (tmp_path / "init.mp4").read_bytes()
    segments = sorted(tmp_path.glob("list*.m4s"))
    assert len(segments) == 2
    path = tmp_path / "saved.mp4"
    path.write_bytes(b"".join(header + segment.read_bytes() for segment in segments))
    assert in_order(decoded(path))
