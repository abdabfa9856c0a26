"""Each decoder over 164 odd real files: where they agree, and, one by one, where they do not and why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avprep.config import AudioSpec, Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media import decoders, probe
from avprep.media.audio import AudioTrack, Wanted, read_audio
from avprep.media.logmel import log_mel
from tests.prep.rendering import difference

SPEC = VideoSpec(frame_size=48, resize_filter="bicubic")  # decord has no other
AGREED_LEVELS = 1.0
"""mean |difference| of a picture, of 255: the same scaler on the same picture; 0.75 is the most seen below it, while
a picture one tick off is 2 to 70 away in all these files that move"""
AGREED_DECIBELS = 0.1
"""mean |difference| of the log-mel of the same sound, mixed before the resampler or within it: 0.03 is the most seen"""
AGREED_SECONDS = 0.01
COMPARED_SAMPLES = 96_000

CENTRED = "says or implies that chroma lies between the pixels, where ffmpeg is told to take it as H.264's"
PICTURES_DIFFER = {
    "torchcodec__resources__sine_stereo_mp2.mpg": CENTRED,
    "torchcodec__resources__testsrc2_av1_10bit.mp4": CENTRED,
    "torchcodec__resources__testsrc2_odd_height_and_width_vp9.mp4": CENTRED,
    "torchcodec__resources__testsrc2_odd_height_and_width_vp9_10bit.mp4": CENTRED,
    "torchcodec__resources__testsrc2_odd_height_vp9.mp4": CENTRED,
    "torchcodec__resources__testsrc2_odd_height_vp9_10bit.mp4": CENTRED,
}
EDIT_LIST_END = "ffmpeg 9 ends the sound where the edit list does, the FFmpeg 8.1 in PyAV after the last packet"
SOUNDS_DIFFER = {
    "androidx_media__avi__sample-with-large-length.avi": "2 s of sound are stamped within 0.07 s: which stays differs",
    "androidx_media__mp4__bbb_1ch_16kHz_aac.mp4": EDIT_LIST_END,
    "androidx_media__mp4__hdr10-av1.mp4": EDIT_LIST_END,
    "androidx_media__mp4__long_edit_list_audioonly.mp4": EDIT_LIST_END,
    "androidx_media__mp4__sample_alac.mp4": EDIT_LIST_END + "; here it forgets the late start",
}
NO_AV1, NO_VVC = "decord's FFmpeg 4 has no AV1 decoder", "decord's FFmpeg 4 knows no VVC"
TWO_TRACKS = "two video tracks: decord goes by bit rate, and cannot be asked for one"
SHORT = "decord finds no key frame in a stream of 3 pictures"
DECORD_REFUSES = {
    "androidx_media__avi__sample-with-large-length.avi": "decord's times are all before the track's start",
    "androidx_media__cea608__sd-hls0000000000.ts": "decord needs a frame rate in the header",
    "androidx_media__mkv__sample_av1.mkv": NO_AV1,
    "androidx_media__mp4__hdr10-av1.mp4": NO_AV1,
    "androidx_media__mp4__sample_av1.mp4": NO_AV1,
    "androidx_media__mp4__sample_vvc.mp4": NO_VVC,
    "androidx_media__mp4__sample_with_av1c.mp4": NO_AV1,
    "androidx_media__mp4__sample_with_colr_mdcv_and_clli.mp4": NO_AV1,
    "androidx_media__mp4__sample_with_invalid_nalu.mp4": "decord gives up at a damaged packet",
    "androidx_media__ts__sample_h262_mpeg_audio.ps": SHORT,
    "androidx_media__ts__sample_h262_mpeg_audio.ts": SHORT,
    "androidx_media__ts__sample_h264_dts_audio.ts": SHORT,
    "androidx_media__ts__sample_h264_mpeg_audio.ts": SHORT,
    "androidx_media__ts__sample_h264_no_access_unit_delimiters.ts": SHORT,
    "androidx_media__ts__sample_scte35.ts": SHORT,
    "androidx_media__mp4__sample_empty_track.mp4": TWO_TRACKS,
    "torchcodec__resources__av1_video.mkv": NO_AV1,
    "torchcodec__resources__nasa_13013.mp4": TWO_TRACKS,
    "torchcodec__resources__testsrc2_av1_10bit.mp4": NO_AV1,
}
DECORD_LEVELS = 12.0
"""mean |difference| of a picture: decord's scaler of 2021 places chroma elsewhere and gives two pixels the same, up to
10.3 on a test card; what is another picture is 33 to 250 away"""
WRONG = "decord gives other pictures, or other bytes, from run to run"
DECORD_DIFFERS = {
    "androidx_media__mp4__sample_rotate_and_reflect.mp4": "decord does not mirror",
    "androidx_media__ts__sample_h264.ts": WRONG,
    "androidx_media__ts__sample_h265.ts": WRONG,
    "androidx_media__ts__sample_h265_rps_pred.ts": WRONG,
    "androidx_media__vp9__roadtrip-vp92-10bit.webm": WRONG,
    "torchcodec__resources__sine_stereo_mp2.mpg": "decord loses pictures at the end",
}
DECORD_BY_CHANCE = {
    "androidx_media__mp4__sample_with_fake_auxiliary_tracks_interleaved_with_primary_video_tracks.mp4": WRONG
}

Pictures = tuple[Fraction, np.ndarray]


def pictures(name: str, path: Path) -> Pictures | str:
    """(start, frames) by decoder `name`, or the reason why there are none."""
    try:
        with decoders.decoder(name).open_pictures(path, SPEC, Limits()) as track:
            return track.start, track.sample(track.start, track.start + 60, None, 60)[0]
    except ClipError as error:
        return error.reason


def sound(name: str, path: Path) -> AudioTrack | str:
    """The sound by decoder `name`, or the reason why there is none."""
    try:
        with decoders.decoder(name).open_sound(path, Limits()) as opened:
            return read_audio(opened, 48_000, Wanted(limit_seconds=60))
    except ClipError as error:
        return error.reason


@pytest.fixture(scope="module")
def files(real_data):
    probe.silence()
    return sorted((real_data / "media").iterdir())


@pytest.fixture(scope="module")
def by_pyav(files):
    return [pictures("pyav", path) for path in files]


def differing(files, left, right, differ) -> tuple[set[str], set[str]]:
    """Names of the files that one of two decoders alone can read, and of those that `differ`."""
    one_alone, found = set(), set()
    for path, a, b in zip(files, left, right, strict=True):
        if isinstance(a, str) or isinstance(b, str):
            if a is not b and a != b:
                one_alone.add(path.name)
        elif differ(a, b):
            found.add(path.name)
    return one_alone, found


@pytest.mark.slow
def test_ffmpeg_and_pyav_give_the_same_pictures(files, by_pyav):
    with ThreadPoolExecutor(2) as pool:
        by_ffmpeg = list(pool.map(lambda path: pictures("ffmpeg", path), files))
    for a, b in zip(by_pyav, by_ffmpeg, strict=True):
        if not isinstance(a, str) and not isinstance(b, str):
            assert abs(len(a[1]) - len(b[1])) <= 1
            assert abs(a[0] - b[0]) < Fraction(1, 1000)
            assert difference(a[1], b[1]) < 5 * AGREED_LEVELS  # whatever the reason, no other picture
    one_alone, found = differing(files, by_pyav, by_ffmpeg, lambda a, b: difference(a[1], b[1]) > AGREED_LEVELS)
    assert one_alone == set()
    assert found == set(PICTURES_DIFFER)
    assert sum(not isinstance(a, str) for a in by_pyav) == 90


@pytest.mark.slow
def test_ffmpeg_and_pyav_give_the_same_sound(files):
    with ThreadPoolExecutor(2) as pool:
        by_pyav = list(pool.map(lambda path: sound("pyav", path), files))
        by_ffmpeg = list(pool.map(lambda path: sound("ffmpeg", path), files))

    def differ(a: AudioTrack, b: AudioTrack) -> bool:
        assert abs(a.span.start - b.span.start) < Fraction(1, 1000)
        both = min(len(a.samples), len(b.samples), COMPARED_SAMPLES)
        one, other = (log_mel(track.samples[:both], AudioSpec()).astype(float) for track in (a, b))
        return (
            abs(len(a.samples) - len(b.samples)) > AGREED_SECONDS * 48_000
            or np.abs(one - other).mean() > AGREED_DECIBELS
        )

    one_alone, found = differing(files, by_pyav, by_ffmpeg, differ)
    assert one_alone == set()
    assert found == set(SOUNDS_DIFFER)


@pytest.mark.slow
def test_what_decord_cannot_do(files, by_pyav):
    by_decord = [pictures("decord", path) for path in files]
    one_alone, found = differing(
        files,
        by_pyav,
        by_decord,
        lambda a, b: abs(len(a[1]) - len(b[1])) > 1 or difference(a[1], b[1]) > DECORD_LEVELS,
    )
    assert one_alone == set(DECORD_REFUSES)
    assert found - set(DECORD_BY_CHANCE) == set(DECORD_DIFFERS)
