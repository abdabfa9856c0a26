"""The orientation that an H.264 stream sets itself holds as long as the standard says, whatever FFmpeg shows."""

from __future__ import annotations

import av
import pytest

from avprep.errors import ClipError
from avprep.media import orientation
from tests.prep.rendering import decoded, render

HALVES = "color=red:s=32x64:r=16:d=2,format=rgb24,pad=64:64:0:0:blue"
GROUP = 16
FRAMES = 32


def message(degrees: int | None, period: int = 1) -> bytes:
    """The SEI unit of a display orientation; None cancels."""
    bits = (
        "1" if degrees is None else f"000{degrees * 65536 // 360:016b}" + {0: "1", 1: "010", 4: "00101"}[period] + "0"
    )
    payload = int((bits + "1").ljust(-(-(len(bits) + 1) // 8) * 8, "0"), 2)
    data = payload.to_bytes(-(-(len(bits) + 1) // 8), "big")
    body = b"\xc8\x03abc" + bytes([47, len(data)]) + data + b"\x80"  # another message comes first
    return b"\x06" + body.replace(b"\x00\x00", b"\x00\x00\x03")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Clips without B-frames and with them: the left half is red."""
    folder = tmp_path_factory.mktemp("plain")
    sound = ["-f", "lavfi", "-i", "sine=f=440:r=48000:d=2", "-c:a", "aac"]
    found = {}
    for b_frames in (0, 3):
        settings = f"bframes={b_frames}:b-adapt=0:keyint={GROUP}:min-keyint={GROUP}:scenecut=0"
        codec = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x264-params", settings]
        found[b_frames] = render(folder / f"{b_frames}.mp4", "-f", "lavfi", "-i", HALVES, *sound, *codec)
    return found


def insert(source, target, messages: dict[int, bytes]):
    """`target`: the clip with messages before the pictures shown as number so and so."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        tracks = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is None:
                continue
            index = packet.stream.index
            added = None
            if packet.stream.type == "video":
                added = messages.get(round(packet.pts * packet.time_base * 16))
            if added is not None:
                changed = av.Packet(len(added).to_bytes(4, "big") + added + bytes(packet))
                changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
                changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
                packet = changed
            packet.stream = tracks[index]
            out.mux(packet)
    return target


def turned(path, decoder: str = "pyav") -> str:
    """One character a frame: `-` as encoded, `T` a quarter turn, `U` upside down."""
    frames = decoded(path, decoder, frame_size=32).frames
    letters = {(1, 1, 0, 0): "-", (0, 0, 1, 1): "U", (0, 1, 0, 1): "T", (1, 0, 1, 0): "T"}
    red = frames[..., 0] > 128
    places = ((4, 4), (28, 4), (4, 28), (28, 28))  # left: rows first
    return "".join(letters[tuple(int(frame[row, column]) for row, column in places)] for frame in red)


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ({}, "-" * FRAMES),
        ({0: message(90)}, "T" * FRAMES),
        ({0: message(90, period=4), 16: message(90, period=4)}, "T" * FRAMES),
        ({0: message(90, period=0)}, "T" + "-" * 31),
        ({0: message(90), 5: message(None)}, "T" * 5 + "-" * 27),
        ({0: message(90), 5: message(180), 16: message(0)}, "T" * 5 + "U" * 11 + "-" * 16),
        ({3: message(180)}, "---" + "U" * 29),
        ({0: message(90), 5: message(180, period=0), 8: message(90)}, "T" * 5 + "U" + "--" + "T" * 24),
    ],
)
def test_a_message_holds_as_long_as_in_the_standard(plain, tmp_path, suffix, b_frames, messages, expected):
    path = insert(plain[b_frames], tmp_path / "clip.mp4", messages)
    if suffix != "mp4":
        path = render(tmp_path / f"clip.{suffix}", "-i", str(path), "-c", "copy")
    assert turned(path) == expected


@pytest.mark.parametrize("first", [0, 4])
def test_the_container_goes_before_the_stream(plain, tmp_path, first):
    upside = render(tmp_path / "upside.mp4", "-display_rotation", "180", "-i", str(plain[0]), "-c", "copy")
    path = insert(upside, tmp_path / "clip.mp4", {first: message(90)})
    assert turned(path) == "U" * FRAMES


def test_decord_refuses_what_it_would_not_turn(plain, tmp_path):
    pytest.importorskip("decord")
    with pytest.raises(ClipError, match="no-video: decord does not turn"):
        turned(insert(plain[0], tmp_path / "clip.mp4", {0: message(90)}), "decord")
    assert turned(plain[0], "decord") == "-" * FRAMES


def test_any_bytes_are_read_without_an_error():
    whole = len(message(90)).to_bytes(4, "big") + message(90) + b"\x00\x00\x00\x02\x65\x88"
    assert orientation.mark_of(whole, 4) == orientation.Mark(True)
    for size in range(len(whole)):
        for length_bytes in (0, 1, 2, 4):
            orientation.mark_of(whole[:size], length_bytes)
            orientation.mark_of(whole[size:], length_bytes)
    assert orientation.mark_of(b"\x00\x00\x01\x06\x2f\xff" + b"\xff" * 100, 0) == orientation.Mark(False)
