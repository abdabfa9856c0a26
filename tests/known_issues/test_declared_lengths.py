"""A length that is guessed, another track's or counted from elsewhere makes no whole file truncated or too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media.clip import DecodedClip, decode_clip
from avprep.media.long import write_log_mel
from tests.prep.rendering import pattern, render, tone

LATE = ("-output_ts_offset", "100")
QUIET_FIRST = ["-f", "lavfi", "-i", r"aevalsrc=between(t\,1\,99)*(0.3*sin(2764*t)+0.3*(random(0)-0.5)):s=44100:d=4"]
SUBTITLE = "1\n00:00:00,500 --> 00:01:58,000\nlong\n"


def decoded(path: Path, pictures: bool = True, decoder: str = "pyav", **limits: float) -> DecodedClip:
    config = BuildConfig(decoder=decoder, video=VideoSpec(frame_size=16))
    return decode_clip(path if pictures else None, None if pictures else path, None, None, config, Limits(**limits))


def film(path: Path, *options: str, seconds: float = 2) -> Path:
    return render(path, *pattern("64x48", "10", seconds), *tone(seconds), *options)


def with_subtitles(folder: Path, tags: bool) -> Path:
    """2 s of film and a subtitle that stands until 1:58; Matroska's tags have each track's length, if there are any."""
    (folder / "long.srt").write_text(SUBTITLE)
    path = render(
        folder / "subtitled.mkv",
        *("-i", str(film(folder / "film.mkv")), "-i", str(folder / "long.srt"), "-c", "copy", "-c:s", "srt"),
    )
    if not tags:
        path.write_bytes(path.read_bytes().replace(b"DURATION", b"duration"))
    return path


@pytest.mark.parametrize(
    "codec", [("aac", "-c:a", "aac"), ("mp3", "-c:a", "libmp3lame", "-q:a", "2", "-write_xing", "0")]
)
def test_a_guess_from_a_quiet_beginning_is_no_length(tmp_path, codec):
    path = render(tmp_path / f"a.{codec[0]}", *QUIET_FIRST, *codec[1:])
    for decoder in ("pyav", "ffmpeg"):
        assert 3.9 < decoded(path, False, decoder, max_clip_seconds=6).span.duration < 4.2
    assert 3.9 < write_log_mel(path, None, None, AudioSpec(), Limits(), tmp_path / "a.npy").duration_seconds < 4.2


@pytest.mark.parametrize("suffix", ["mp3", "w64", "caf"])
def test_bytes_behind_the_sound_are_no_length(tmp_path, suffix):
    options = ("-write_xing", "0") if suffix == "mp3" else ()
    path = render(tmp_path / f"a.{suffix}", *tone(2), *options)
    with open(path, "ab") as file:
        file.write(bytes(400_000))
    assert 1.9 < decoded(path, pictures=False).span.duration < 2.1


@pytest.mark.parametrize("tags", [True, False])
def test_a_subtitle_that_lasts_longer_is_another_track(tmp_path, tags):
    path = with_subtitles(tmp_path, tags)
    for decoder in ("pyav", "ffmpeg"):
        assert 1.9 < decoded(path, decoder=decoder, max_clip_seconds=60).span.duration < 2.1


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_second_sound_that_goes_on_is_another_track(tmp_path, suffix):
    own = film(tmp_path / f"film.{suffix}")
    path = render(tmp_path / f"two.{suffix}", "-i", str(own), *tone(20), "-map", "0", "-map", "1:a", "-c:v", "copy")
    assert 1.9 < decoded(path, max_clip_seconds=10).span.duration < 2.1


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("flv", ()),
        ("flv", ("-flvflags", "no_duration_filesize")),
        ("wmv", ("-c:v", "wmv2", "-c:a", "wmav2")),
        ("mkv", ()),
        ("ts", ()),
        ("mp4", ()),
        ("ogv", ("-c:v", "libtheora", "-c:a", "libvorbis")),
    ],
)
def test_a_clock_that_starts_late_makes_no_file_longer(tmp_path, suffix, options):
    path = film(tmp_path / f"a.{suffix}", *LATE, *options)
    assert 1.8 < decoded(path, max_clip_seconds=50).span.duration < 2.2


@pytest.mark.parametrize("suffix", ["ogg", "opus", "wma"])
def test_nor_does_that_of_sound_alone(tmp_path, suffix):
    path = render(tmp_path / f"a.{suffix}", *tone(2), *LATE)
    assert 1.8 < decoded(path, pictures=False, max_clip_seconds=50).span.duration < 2.2


@pytest.mark.parametrize("suffix", ["mkv", "flv", "flac", "mp3"])
def test_what_is_cut_in_the_middle_is_still_truncated(tmp_path, suffix):
    sound = suffix in ("flac", "mp3")
    path = render(tmp_path / f"a.{suffix}", *tone(4)) if sound else film(tmp_path / f"a.{suffix}", seconds=4)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ClipError) as caught:
        decoded(path, pictures=not sound)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("tags", [True, False])
def test_so_is_a_film_with_subtitles(tmp_path, tags):
    """The subtitle that would reach the end lies behind the cut."""
    path = with_subtitles(tmp_path, tags)
    (tmp_path / "late.srt").write_text("1\n00:00:05,500 --> 00:00:05,900\nlate\n")
    film(tmp_path / "longer.mkv", seconds=6)
    path = render(
        tmp_path / "a.mkv",
        *("-i", str(tmp_path / "longer.mkv"), "-i", str(tmp_path / "late.srt"), "-c", "copy", "-c:s", "srt"),
    )
    data = path.read_bytes()
    path.write_bytes((data if tags else data.replace(b"DURATION", b"duration"))[: len(data) // 2])
    with pytest.raises(ClipError) as caught:
        decoded(path)
    assert caught.value.reason == "truncated"


def test_pictures_cut_short_beside_whole_sound_are_truncated(tmp_path):
    path = film(tmp_path / "a.flv", seconds=4)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    whole = render(tmp_path / "a.wav", *tone(4))
    with pytest.raises(ClipError) as caught:
        decode_clip(path, whole, None, None, BuildConfig(video=VideoSpec(frame_size=16)), Limits())
    assert caught.value.reason == "truncated"
