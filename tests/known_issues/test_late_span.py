"""A span late in a long file: entered at the key frame before it, with the bytes of a whole decoding."""

from __future__ import annotations

import av
import pytest

from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media import nal, video
from avprep.media.clip import decode_clip
from tests.prep.rendering import render, tone

SECONDS, GROUP = 6, 20
X264 = f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:bframes=3"
X265 = f"keyint={GROUP}:min-keyint={GROUP}:bframes=3:log-level=none"
LIBVPX = ["-g", str(GROUP), "-auto-alt-ref", "1", "-lag-in-frames", "10", "-deadline", "realtime", "-cpu-used", "8"]
AV1 = ["-c:v", "libaom-av1", "-g", str(GROUP), "-cpu-used", "8", "-usage", "realtime"]
FILES = {
    "closed.mp4": (["-c:v", "libx264", "-preset", "veryfast", "-x264-params", X264], True),
    "closed.mkv": (["-c:v", "libx264", "-preset", "veryfast", "-x264-params", X264], True),
    "open.mp4": (["-c:v", "libx264", "-preset", "veryfast", "-x264-params", X264 + ":open-gop=1"], False),
    "refresh.mp4": (["-c:v", "libx264", "-preset", "veryfast", "-x264-params", "keyint=20:intra-refresh=1"], False),
    "fragments.mp4": (["-c:v", "libx264", "-x264-params", X264, "-movflags", "frag_keyframe+empty_moov"], False),
    "open.mov": (["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", X265 + ":open-gop=1"], True),
    "closed-hevc.mkv": (["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", X265 + ":open-gop=0"], True),
    "vp8.webm": (["-c:v", "libvpx", *LIBVPX], True),
    "vp9.webm": (["-c:v", "libvpx-vp9", *LIBVPX], True),
    "av1.mp4": (AV1, True),
    "stream.ts": (["-c:v", "libx264", "-preset", "veryfast", "-x264-params", X264], False),
    "old.avi": (["-c:v", "mpeg4", "-g", str(GROUP)], False),
}


@pytest.fixture
def decoded_packets(monkeypatch):
    """Counts the packets of pictures that are decoded; spans count as late from 0.1 s on."""
    count = [0]
    frames_of = video.VideoTrack._frames_of

    def counted(self, packet):
        count[0] += 1
        return frames_of(self, packet)

    monkeypatch.setattr(video.VideoTrack, "_frames_of", counted)
    monkeypatch.setattr("avprep.media.seeking.LEAST_SECONDS", 0.1)
    return count


def cut(path, start: float, seconds: float = 1.0, sound=None):
    """All that is stored of a span, or why there is nothing."""
    config = BuildConfig(video=VideoSpec(frame_size=32))
    try:
        clip = decode_clip(path, sound, start, start + seconds, config, Limits())
    except ClipError as error:
        return error.reason, error.detail
    return clip.frames.tobytes(), clip.logmel.tobytes(), clip.span, clip.video_start, clip.audio_start


def from_the_start(monkeypatch, *arguments):
    """As `cut`, of a track that is read from its start."""
    with monkeypatch.context() as patch:
        patch.setattr("avprep.media.seeking.LEAST_SECONDS", 1e9)
        return cut(*arguments)


@pytest.mark.parametrize("name", FILES)
def test_the_bytes_are_those_of_decoding_from_the_start(tmp_path, monkeypatch, decoded_packets, name):
    codec, entered = FILES[name]
    pictures = ["-f", "lavfi", "-i", f"testsrc2=s=96x64:r=25:d={SECONDS}"]
    sound = ["-c:a", "libopus" if name.endswith("webm") else "aac"]
    path = render(tmp_path / name, *pictures, *tone(SECONDS), *codec, "-pix_fmt", "yuv420p", *sound)
    for start in (0.0, 0.77, 1.6, 3.2, 4.9):
        decoded_packets[0] = 0
        late = cut(path, start)
        counted = decoded_packets[0]
        assert late == from_the_start(monkeypatch, path, start), start
        assert isinstance(late[0], bytes)
        if entered and start > 2:  # the first picture, one group before the span, the span, what is reordered
            assert counted <= 32 + 1 + GROUP + 25 + 32 + 2
        assert counted <= 2 * (SECONDS * 25 + 2)  # from the start, after it was tried


def test_the_work_is_the_same_wherever_the_span_lies(tmp_path, decoded_packets):
    pictures = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=60"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-x264-params", f"keyint={GROUP}:scenecut=0"]
    path = render(tmp_path / "long.mp4", *pictures, *tone(60), *codec, "-pix_fmt", "yuv420p", "-c:a", "aac")
    counts = []
    for start in (8.0, 32.0, 56.0):
        decoded_packets[0] = 0
        assert isinstance(cut(path, start)[0], bytes)
        counts.append(decoded_packets[0])
    assert max(counts) - min(counts) <= GROUP
    assert max(counts) < 4 * 25 + 2 * 32


@pytest.mark.parametrize("name", ["bbb_editlist.mp4", "bbb_rot90.mp4", "bbb_vfr.mkv", "bbb_vp9_opus.webm"])
def test_odd_files_keep_their_bytes(videos, monkeypatch, decoded_packets, name):
    for start in (0.4, 0.9):
        assert cut(videos / name, start) == from_the_start(monkeypatch, videos / name, start)


@pytest.mark.slow
def test_real_files_keep_their_bytes(real_data, videos, monkeypatch, decoded_packets):
    """Those of several groups of pictures, and of edit lists that hide a first key frame."""
    names = [
        "androidx_media__mp4__midroll-5s.mp4",
        "androidx_media__mp4__edit_list_positive_shift.mp4",
        "androidx_media__mp4__silent-black-25s.mp4",
        "androidx_media__mkv__sample_with_chapters.mkv",
        "torchcodec__resources__discard_first_keyframe.mp4",
        "torchcodec__resources__nasa_13013.mp4",
        "torchcodec__resources__h265_video.mp4",
    ]
    for name in names:
        path = real_data / "media" / name
        with av.open(str(path)) as container:
            seconds = container.duration / av.time_base
            sound = None if container.streams.audio else videos / "bbb_novideo.m4a"
        for share in (0.4, 0.8):
            start = round(seconds * share, 2)
            assert cut(path, start, 0.5, sound) == from_the_start(monkeypatch, path, start, 0.5, sound), name


def test_a_short_offset_is_read_from_the_start(videos, monkeypatch):
    entered = []
    monkeypatch.setattr(video.VideoTrack, "_enter", lambda _self, start: entered.append(start))
    assert isinstance(cut(videos / "bbb_h264_aac.mp4", 1.0)[0], bytes)
    assert not entered


def test_slices_are_known_by_their_kind():
    assert nal.first_slice(b"\x00\x00\x01\x67\x42\x00\x00\x01\x65\x88", 0, nal.H264) == 5
    assert nal.first_slice(b"\x00\x02\x09\x10\x00\x02\x41\x9a", 2, nal.H264) == 1
    assert nal.first_slice(b"\x00\x00\x00\x03\x40\x01\x0c\x00\x00\x00\x03\x2a\x01\xaf", 4, nal.HEVC) == 21
    assert nal.first_slice(b"", 4, nal.HEVC) is None
    assert nal.hevc_length_bytes(bytes([1, *[0] * 20, 3])) == 4
    assert nal.hevc_length_bytes(None) == 0
