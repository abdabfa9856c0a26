"""Samples and pictures in memory become what a file with them becomes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import wavfile

from avprep.audio_features import log_mel_of
from avprep.config import LOGMEL_PRESETS, AudioSpec, VideoSpec
from avprep.errors import ClipError
from avprep.media.arrays import log_mel_of_samples, mono_of_samples, stored_pictures


def sound(rate_hz, channels, seconds=1.37):
    return (0.2 * np.random.default_rng(3).standard_normal((channels, int(rate_hz * seconds)))).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
@pytest.mark.parametrize("preset", LOGMEL_PRESETS)
def test_samples_have_the_bits_of_their_file(rate_hz, preset, tmp_path):
    samples, spec = sound(rate_hz, 1, 3.1), LOGMEL_PRESETS[preset]
    wavfile.write(tmp_path / "a.wav", rate_hz, samples[0])
    made = log_mel_of_samples(samples[0], rate_hz, spec)
    assert made.dtype == np.float16
    np.testing.assert_array_equal(log_mel_of(tmp_path / "a.wav", spec)[: len(made)], made)


@pytest.mark.parametrize("downmix", ["mean", "swresample"])
def test_two_channels_are_mixed_as_in_a_file(downmix, tmp_path):
    samples, spec = sound(44_100, 2), AudioSpec(downmix=downmix)
    samples[1] = samples[0]
    wavfile.write(tmp_path / "a.wav", 44_100, samples.T)
    made = log_mel_of_samples(samples, 44_100, spec)
    np.testing.assert_allclose(made, log_mel_of(tmp_path / "a.wav", spec), atol=0.13)  # steps of float16
    one = log_mel_of_samples(samples[0], 44_100, spec)
    louder = np.median(made.astype(float) - one)
    assert louder == pytest.approx({"mean": 0.0, "swresample": 3.0}[downmix], abs=0.1)


def test_the_length_is_that_of_the_sound_at_the_wanted_rate():
    spec = AudioSpec()
    assert mono_of_samples(np.ones(8_000, np.float64), 16_000, spec).shape == (24_000,)
    assert mono_of_samples(np.ones((3, 100)), 48_000, spec).shape == (100,)
    assert log_mel_of_samples(np.zeros(200_000), 16_000, spec).shape == (1251, 128)
    with pytest.raises(ClipError, match="not-finite"):
        log_mel_of_samples(np.full(5_000, np.nan), 48_000, spec)


def test_pictures_are_scaled_and_cropped_as_stored():
    same = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    np.testing.assert_array_equal(stored_pictures(same, VideoSpec(frame_size=16)), same)
    wide = np.zeros((2, 64, 128, 3), np.uint8)
    wide[:, :, 32:96] = (200, 100, 50)
    cropped = stored_pictures(wide, VideoSpec(frame_size=16, resize="crop"))
    assert cropped.shape == (2, 16, 16, 3)
    np.testing.assert_allclose(cropped[:, 2:-2, 2:-2], np.broadcast_to((200, 100, 50), (2, 12, 12, 3)), atol=2)
    stretched = stored_pictures(wide, VideoSpec(frame_size=16))
    assert stretched[0, 8].astype(int).sum(axis=1).tolist()[:3] == [0, 0, 0]
    assert abs(stretched[0, 8, 8].astype(int) - (200, 100, 50)).max() <= 2
