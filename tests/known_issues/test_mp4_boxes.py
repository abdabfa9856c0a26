"""Boxes of any kind around those of an MP4: what FFmpeg reads is read, what is cut short is refused."""

from __future__ import annotations

import struct

import pytest

from avprep.config import Limits
from avprep.errors import ClipError
from avprep.media import boxes, probe
from tests.prep.rendering import decoded

UNKNOWN = [b"prft", b"udta", b"XMP_", b"junk", b"skip", b"uuid", b"frea", b"\x00\x01\x02\x03"]


def box(kind: bytes, size: int = 48, claimed: int | None = None) -> bytes:
    """A box of `size` bytes of noughts that claims to have `claimed`."""
    return struct.pack(">I4s", size if claimed is None else claimed, kind) + bytes(size - 8)


def parts(videos) -> dict[str, bytes]:
    """The top-level boxes of a clip whose moov comes last, so that a box before it moves no offset."""
    data, found, position = (videos / "bbb_h264_aac.mp4").read_bytes(), {}, 0
    while position < len(data):
        size, kind = struct.unpack(">I4s", data[position : position + 8])
        found[kind.decode()] = data[position : position + size]
        position += size
    assert list(found)[-1] == "moov"
    return found


@pytest.fixture(scope="module")
def whole(videos):
    return decoded(videos / "bbb_h264_aac.mp4", frame_size=32)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_box_before_moov_changes_nothing(videos, tmp_path, whole, kind):
    before = parts(videos)
    moov = before.pop("moov")
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"".join(before.values()) + box(kind) + box(kind, 32) + moov)
    clip = decoded(path, frame_size=32)
    assert (clip.frames == whole.frames).all()
    assert (clip.logmel == whole.logmel).all()


def test_a_box_before_ftyp_and_a_long_one_at_the_end_change_nothing(videos, tmp_path):
    path = tmp_path / "clip.mp4"
    data = (videos / "bbb_h264_aac.mp4").read_bytes()
    for kind in (b"junk", b"free", b"skip", b"uuid"):
        path.write_bytes(data + box(kind, claimed=1 << 20))
        assert boxes.cut_short(path, path.stat().st_size) == "", kind
        probe.open_media(path, Limits(), "vide").close()
    path.write_bytes(box(b"prft") + data)  # moves all samples: opened, though not worth decoding
    probe.open_media(path, Limits(), "vide").close()


def test_a_cut_is_reported_behind_any_box(videos, tmp_path):
    path = tmp_path / "clip.mp4"
    before = parts(videos)
    for lead in (b"", box(b"prft"), box(b"udta") + box(b"junk")):
        path.write_bytes(lead + before["ftyp"] + before["moov"] + lead + before["mdat"][:-1000])
        with pytest.raises(ClipError, match="truncated: box mdat is 1000 bytes longer"):
            probe.open_media(path, Limits(), "vide")
        path.write_bytes(lead + before["ftyp"] + lead + before["mdat"])
        with pytest.raises(ClipError, match="truncated: the moov box is missing"):
            probe.open_media(path, Limits(), "vide")


def test_encryption_is_reported_behind_any_box(videos, tmp_path):
    path = tmp_path / "clip.mp4"
    data = (
        (videos / "bbb_h264_aac.mp4")
        .read_bytes()
        .replace(b"avc1\x00\x00\x00\x00\x00\x00\x00\x01", b"encv\x00\x00\x00\x00\x00\x00\x00\x01")
    )
    for lead in (b"", box(b"prft"), box(b"XMP_")):
        path.write_bytes(lead + data)
        with pytest.raises(ClipError, match="encrypted: sample entry encv"):
            probe.open_media(path, Limits(), "vide")
        assert boxes.encrypted_entry(path, "soun") == ""
