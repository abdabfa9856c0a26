"""The clock of MPEG streams has 33 bits: after 26.5 hours it begins at 0 again, which is no end of the recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.media.clip import DecodedClip, decode_clip
from avprep.media.long import write_log_mel
from tests.prep.rendering import pattern, render, tone

WRAP_SECONDS = 2**33 / 90_000


def rendered(path: Path, before: float, *options: str) -> Path:
    """4 s of film whose clock wraps after about `before` seconds."""
    late = ("-output_ts_offset", f"{WRAP_SECONDS - before:.3f}", "-muxdelay", "0", "-muxpreload", "0")
    codecs = ("-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2")
    return render(path, *pattern("64x48", "25", 4), *tone(4), *codecs, *late, *options)


def decoded(path: Path, decoder: str, span: tuple[float | None, float | None] = (None, None)) -> DecodedClip:
    config = BuildConfig(decoder=decoder, video=VideoSpec(frame_size=16))
    return decode_clip(path, None, *span, config, Limits())


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_a_clock_that_wraps_changes_nothing(tmp_path, suffix, decoder):
    wrapped, plain = (rendered(tmp_path / f"{before}.{suffix}", before) for before in (2, 100))
    one, other = decoded(wrapped, decoder), decoded(plain, decoder)
    assert 3.8 < one.span.duration < 4.1
    assert np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.logmel, other.logmel)


def test_decord_has_all_of_it_as_well(tmp_path):
    """Its clock of 32-bit floats places pictures of a late start a tick beside, wrapped or not."""
    assert len(decoded(rendered(tmp_path / "a.ts", 2), "decord").frames) >= 60


def test_spans_before_and_behind_the_wrap(tmp_path):
    wrapped, plain = (rendered(tmp_path / f"{before}.ts", before) for before in (2, 100))
    for begin in (0.5, 2.5):
        one, other = (decoded(path, "pyav", (begin, begin + 1)) for path in (wrapped, plain))
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.logmel, other.logmel)


def test_sound_alone_of_any_length(tmp_path):
    path = rendered(tmp_path / "a.ts", 2)
    assert 3.8 < write_log_mel(path, None, None, AudioSpec(), Limits(), tmp_path / "a.npy").duration_seconds < 4.1
