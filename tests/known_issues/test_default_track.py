"""Several tracks of one kind: the one that is marked as default is taken, by every decoder and in embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from avprep.audio_features import log_mel_of
from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media.clip import decode_clip
from avprep.media.logmel import band_centres_hz
from tests.prep.rendering import decoded, render

CODECS = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
RED, BLUE = (f"color={name}:s=64x64:r=16:d=1" for name in ("red", "blue"))
LOW, HIGH = (f"sine=f={hertz}:r=48000:d=1" for hertz in (285, 1760))
TRACKS = [argument for source in (RED, BLUE, LOW, HIGH) for argument in ("-f", "lavfi", "-i", source)]
MAPS = [argument for number in range(4) for argument in ("-map", str(number))]


def marked(path, *flags: str):
    """Red and blue pictures, a low and a high tone, with these dispositions of the four tracks."""
    names = ("v:0", "v:1", "a:0", "a:1")
    given = [word for name, flag in zip(names, flags, strict=True) for word in (f"-disposition:{name}", flag)]
    return render(path, *TRACKS, *MAPS, *CODECS, *given)


def taken(clip) -> tuple[str, str]:
    red, _, blue = clip.frames[8].reshape(-1, 3).mean(0)
    return "red" if red > blue else "blue", pitch(clip.logmel)


def pitch(logmel) -> str:
    return "low" if band_centres_hz(48_000, 128)[np.argmax(logmel[50])] < 700 else "high"


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("0", "default", "0", "default"), ("blue", "high")),
        (("default", "0", "default", "0"), ("red", "low")),
        (("0", "0", "0", "0"), ("red", "low")),
        (("0", "default", "default", "0"), ("blue", "low")),
    ],
)
def test_the_default_tracks_are_taken(tmp_path, suffix, flags, expected):
    path = marked(tmp_path / f"clip.{suffix}", *flags)
    for decoder in ("pyav", "ffmpeg"):
        assert taken(decoded(path, decoder, frame_size=32)) == expected, decoder
    assert pitch(log_mel_of(path, AudioSpec())) == expected[1]
    assert taken(separate(path)) == expected


def separate(path):
    """The clip of a manifest that names one file for pictures and sound."""
    return decode_clip(path, path, None, None, BuildConfig(video=VideoSpec(frame_size=32)), Limits())


def test_decord_which_goes_by_bit_rate_takes_none_of_several(tmp_path):
    pytest.importorskip("decord")
    path = marked(tmp_path / "clip.mkv", "0", "default", "0", "default")
    with pytest.raises(ClipError, match="no-video: decord cannot be asked for one of several video tracks"):
        decoded(path, "decord", frame_size=32)


def test_sound_for_people_who_cannot_see_comes_last(tmp_path):
    path = marked(tmp_path / "clip.mkv", "default", "0", "default+visual_impaired", "default")
    for decoder in ("pyav", "ffmpeg"):
        assert taken(decoded(path, decoder, frame_size=32)) == ("red", "high"), decoder


def test_only_the_track_that_is_taken_must_be_readable(tmp_path):
    path = marked(tmp_path / "clip.mp4", "default", "0", "0", "default")
    entry = b"mp4a\x00\x00\x00\x00\x00\x00\x00\x01"
    for number, reason in ((1, ""), (2, "encrypted")):
        data = path.read_bytes()
        position = -1
        for _ in range(number):
            position = data.index(entry, position + 1)
        changed = tmp_path / f"{number}.mp4"
        changed.write_bytes(data[:position] + b"enca" + data[position + 4 :])
        if reason:
            with pytest.raises(ClipError, match=reason):
                decoded(changed, frame_size=32)
        else:
            assert taken(decoded(changed, frame_size=32)) == ("red", "high")
