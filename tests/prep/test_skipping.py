"""Pictures that no tick needs are not decoded, and the frames are the same to the last bit."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avprep.config import Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media import probe, video, with_pyav
from tests.prep.rendering import pattern, render

LATE = Fraction(1, 100)  # ticks beside the pictures' own times
ENCODERS = {
    "x264.mp4": ["libx264"],
    "x264_deep.mkv": ["libx264", "-bf", "8", "-b_strategy", "0", "-x264-params", "b-pyramid=normal"],
    "x264_open.ts": ["libx264", "-x264-params", "open-gop=1:keyint=20:bframes=3"],
    "x264_fields.mp4": ["libx264", "-x264-params", "interlaced=1"],
    "x265.mp4": ["libx265", "-x265-params", "log-level=none"],
    "mpeg2.mpg": ["mpeg2video", "-bf", "2"],
    "mpeg2.ts": ["mpeg2video", "-bf", "2"],
    "mpeg4.mp4": ["mpeg4", "-bf", "2"],
}


@pytest.fixture
def skipped(monkeypatch):
    """The packets whose pictures were not needed."""
    real, found = video.Needs.needed, []

    def needed(self, packet):
        answer = real(self, packet)
        if not answer:
            found.append(packet.pts)
        return answer

    monkeypatch.setattr(video.Needs, "needed", needed)
    return found


def frames_of(path: Path, skipping: bool, rate_hz: int = 16) -> tuple[np.ndarray, Fraction] | str:
    spec = VideoSpec(frame_size=32, frame_rate_hz=rate_hz)
    try:
        if skipping:
            with with_pyav.open_pictures(path, spec, Limits()) as track:
                return track.sample(track.start + LATE, track.start + 20, None, 60)
        with probe.open_media(path, Limits(), "vide") as container:
            track = video.VideoTrack(container, spec, Limits())
            return track.sample(track.start + LATE, track.start + 20, None, 60)
    except ClipError as error:
        return error.reason


def same(path: Path, rate_hz: int = 16) -> bool:
    left, right = frames_of(path, True, rate_hz), frames_of(path, False, rate_hz)
    if isinstance(left, str) or isinstance(right, str):
        return isinstance(left, str) and left == right
    return bool(np.array_equal(left[0], right[0]) and left[1] == right[1])


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("rate_hz", [16, 5])
def test_b_frames_are_skipped_without_a_trace(tmp_path, skipped, name, rate_hz):
    path = render(tmp_path / name, *pattern("192x128", "30", 2), "-threads", "1", "-c:v", *ENCODERS[name])
    assert same(path, rate_hz)
    assert len(skipped) >= 15


def test_variable_rate_is_skipped_by_its_own_times(tmp_path, skipped):
    drop = ["-vf", "select='not(mod(n\\,3))+gt(n\\,30)'", "-fps_mode", "vfr"]
    path = render(tmp_path / "a.mp4", *pattern("192x128", "30", 2), *drop, "-c:v", "libx264", "-threads", "1")
    assert same(path)
    assert len(skipped) >= 10


def test_packets_without_display_times_are_decoded_in_full(tmp_path, skipped):
    path = render(tmp_path / "a.avi", *pattern("192x128", "30", 1), "-c:v", "mpeg4", "-bf", "2", "-threads", "1")
    assert same(path)
    assert not skipped


@pytest.mark.slow
def test_real_files_are_the_same_with_and_without(real_data, videos, skipped):
    probe.silence()
    media = [path for path in sorted((real_data / "media").iterdir()) if path.stat().st_size < 150_000]
    paths = [*media, *sorted(videos.iterdir()), *sorted((real_data / "grid").glob("*/*"))[::10]]
    assert [path.name for path in paths if not same(path)] == []
    assert len(skipped) > 500


def test_a_damaged_file_is_decoded_again_in_full(tmp_path, skipped, monkeypatch):
    """A packet that fails after others were skipped: what it leaves on the screen may rest on a skipped picture."""
    path = render(tmp_path / "a.mp4", *pattern("192x128", "30", 2), "-c:v", "libx264", "-threads", "1")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat")
    rng = np.random.default_rng(1)
    for position in rng.integers(start + (len(data) - start) // 2, len(data) - 3000, 200):
        data[position] ^= 255
    path.write_bytes(data)
    probe.silence()
    opened = []
    real = probe.open_media
    monkeypatch.setattr(probe, "open_media", lambda *arguments: opened.append(1) or real(*arguments))
    for other in ("check", "arrived"):  # the damage alone must do
        monkeypatch.setattr(video.Needs, other, lambda *_: None)
    assert same(path)
    assert skipped
    assert len(opened) == 3  # with skipping, again without, and the test's own


@pytest.mark.parametrize("lost", [0, 1])
def test_a_wanted_picture_that_does_not_come_means_decoding_again(tmp_path, monkeypatch, lost):
    """Every packet is sent as one to skip, though its picture is wanted; or a frame comes that none announced."""
    path = render(tmp_path / "a.mp4", *pattern("192x128", "30", 2), "-c:v", "libx264", "-threads", "1")
    real = video.Needs.needed

    def needed(self, packet):
        answer = real(self, packet)
        if lost:
            return answer and packet.is_keyframe
        self._announced = [pts for pts in self._announced if pts != packet.pts or not self._skipped]
        return answer

    monkeypatch.setattr(video.Needs, "needed", needed)
    assert same(path)


def test_nothing_is_kept_beyond_what_is_asked_for_though_the_end_is_reached(videos):
    with with_pyav.open_pictures(videos / "bbb_h264_aac.mp4", VideoSpec(frame_size=32), Limits()) as track:
        frames, end = track.sample(track.start, track.start + 1, None, 60)
    assert (len(frames), end - track.start) == (16, 2)
