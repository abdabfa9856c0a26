"""One tone in many sample formats: the same level and length from all, whatever the container of a sample."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from avprep.config import Limits
from avprep.errors import ClipError
from avprep.media import decoders
from avprep.media.audio import Wanted, read_audio
from tests.prep.rendering import render

RATE_HZ = 48_000
TONE = 0.5 * np.sin(np.arange(RATE_HZ // 2) * 2 * np.pi * 440 / RATE_HZ)
KIND = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
WAVE64 = {name: name + b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a" for name in (b"wave", b"fmt ", b"data")}
WAVE64[b"riff"] = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


def integers(valid: int, container: int) -> bytes:
    """The tone in samples of `valid` bits at the top of `container` bits."""
    values = np.round(TONE * (2 ** (valid - 1) - 1)).astype(np.int64) << (container - valid)
    return values.astype("<i8").view(np.uint8).reshape(-1, 8)[:, : container // 8].tobytes()


def extensible(valid: int, container: int, kind: int = 1) -> bytes:
    size = container // 8
    start = struct.pack("<HHIIHH", 0xFFFE, 1, RATE_HZ, RATE_HZ * size, size, container)
    return start + struct.pack("<HHIH", 22, valid, 4, kind) + KIND


def riff(path: Path, form: bytes, data: bytes) -> Path:
    chunks = b"LIST" + struct.pack("<I", 4) + b"INFO" + b"fmt " + struct.pack("<I", len(form)) + form
    body = b"WAVE" + chunks + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def rf64(path: Path, form: bytes, data: bytes) -> Path:
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 0, len(data), len(TONE), 0)
    body = b"WAVE" + sizes + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + b"\xff" * 4 + data
    path.write_bytes(b"RF64" + b"\xff" * 4 + body)
    return path


def wave64(path: Path, form: bytes, data: bytes) -> Path:
    body = WAVE64[b"wave"]
    for name, content in ((b"fmt ", form), (b"data", data)):
        body += WAVE64[name] + struct.pack("<Q", 24 + len(content)) + content + bytes(-len(content) % 8)
    path.write_bytes(WAVE64[b"riff"] + struct.pack("<Q", 24 + len(body)) + body)
    return path


def check(path: Path, tolerance: float = 1e-4) -> None:
    """The tone, whole, at its level, by both decoders of sound."""
    for decoder in ("pyav", "ffmpeg"):
        with decoders.decoder(decoder).open_sound(path, Limits()) as sound:
            track = read_audio(sound, RATE_HZ, Wanted(limit_seconds=10))
            claimed = sound.header.track_seconds  # of Wave64, FFmpeg has a guess alone
            assert claimed is None or claimed == pytest.approx(len(TONE) / RATE_HZ, abs=0.02)
        assert len(track.samples) == len(TONE)
        assert np.abs(track.samples - TONE).max() < tolerance


@pytest.mark.parametrize("write", [riff, rf64, wave64])
@pytest.mark.parametrize(("valid", "container"), [(24, 32), (20, 32), (16, 32), (16, 24), (8, 16), (20, 24), (12, 16)])
def test_samples_in_wider_containers(tmp_path, write, valid, container):
    path = write(tmp_path / "sound.wav", extensible(valid, container), integers(valid, container))
    check(path, 2.0 ** (2 - valid))


def test_floats_with_fewer_valid_bits(tmp_path):
    check(riff(tmp_path / "sound.wav", extensible(24, 32, kind=3), TONE.astype("<f4").tobytes()))
    check(riff(tmp_path / "sound.wav", extensible(64, 64, kind=3), TONE.astype("<f8").tobytes()))


def test_a_header_that_ends_anywhere_is_no_crash(tmp_path):
    whole = riff(tmp_path / "sound.wav", extensible(24, 32), integers(24, 32)).read_bytes()
    for size in range(80):
        (tmp_path / "cut.wav").write_bytes(whole[:size])
        with (
            pytest.raises(ClipError, match=r"empty|not-media|no-audio"),
            decoders.decoder("pyav").open_sound(tmp_path / "cut.wav", Limits()) as sound,
        ):
            read_audio(sound, RATE_HZ, Wanted(limit_seconds=10))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("s24.aiff", "pcm_s24be"),
        ("f32.aiff", "pcm_f32be"),
        ("f64.caf", "pcm_f64be"),
        ("s24.caf", "pcm_s24le"),
        ("s24.mov", "pcm_s24be"),
        ("s32.mkv", "pcm_s32le"),
        ("s24.avi", "pcm_s24le"),
        ("s24.w64", "pcm_s24le"),
    ],
)
def test_other_containers(tmp_path, name, codec):
    source = riff(tmp_path / "source.wav", extensible(32, 32), integers(32, 32))
    check(render(tmp_path / name, "-i", str(source), "-c:a", codec))
