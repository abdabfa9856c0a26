"""The log-mel presets: against librosa's own formulas, and through build-shards on sound of its own rate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import LOGMEL_PRESETS, AudioSpec, BuildConfig, Limits, ShardSpec
from avprep.dataset import Dataset
from avprep.manifest.read_write import Clip, write_manifest
from avprep.media import logmel
from avprep.media.logmel import BLOCK_FRAMES, log_mel
from tests.prep.by_librosa import librosa

NAME = "tabla_ghe2.ogg"


def native(path: Path) -> tuple[np.ndarray, int]:
    """(mono samples, rate) of a sound file, by PyAV alone."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
        return np.concatenate(frames).astype(np.float32), container.streams.audio[0].rate


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGMEL_PRESETS)
def test_presets_are_librosas_formulas(name, sounds):
    """The released code calls power_to_db on the magnitude: 10 log10 of it."""
    samples, _ = native(sounds / NAME)
    spec = LOGMEL_PRESETS[name]
    mel = librosa().feature.melspectrogram(
        y=samples, sr=spec.sample_rate_hz, n_fft=spec.window_samples, hop_length=spec.hop_samples,
        n_mels=128, power=1.0, pad_mode="constant",
    )  # fmt: skip
    if name == "released-code":
        want = librosa().power_to_db(mel, ref=1.0, amin=1e-10, top_db=80)
    else:
        want = librosa().amplitude_to_db(mel, ref=1.0, amin=1e-5, top_db=100)
    assert np.abs(log_mel(samples, spec).astype(float) - want.T).max() < 0.05


@pytest.mark.slow
def test_log_mel_in_blocks_is_log_mel_of_the_whole():
    """Librosa makes the whole; the same but for matrix products that may round otherwise: a step of float16."""
    rng = np.random.default_rng(0)
    for count in (2048, 480 * BLOCK_FRAMES - 1, 480 * BLOCK_FRAMES, 5 * 48_000 + 7):
        samples = (rng.standard_normal(count) * np.exp(rng.standard_normal(count)) * 0.1).astype(np.float32)
        mel = librosa().feature.melspectrogram(
            y=samples, sr=48_000, n_fft=2048, hop_length=480, power=1.0, pad_mode="constant"
        )
        whole = librosa().amplitude_to_db(mel, ref=1.0, amin=1e-5, top_db=100.0).T.astype(np.float16)
        found = log_mel(samples, AudioSpec())
        assert found.shape == whole.shape
        assert (found != whole).mean() < 1e-3
        assert np.abs(found.astype(float) - whole).max() <= 2.0**-4


@pytest.mark.parametrize("name", LOGMEL_PRESETS)
@pytest.mark.parametrize("num_mel_bands", [64, 128])
def test_mel_bands_are_librosas_to_the_bit(name, num_mel_bands):
    spec = dataclasses.replace(LOGMEL_PRESETS[name], num_mel_bands=num_mel_bands)
    want = librosa().filters.mel(sr=spec.sample_rate_hz, n_fft=spec.window_samples, n_mels=num_mel_bands).T
    found = logmel._bands(spec)
    assert (found.dtype, found.flags.f_contiguous) == (want.dtype, want.flags.f_contiguous)
    np.testing.assert_array_equal(found, want)


def test_without_resampling_each_clip_keeps_its_own_rate(sounds, tmp_path):
    """22.05 kHz taken as 16 kHz: 137.8 log-mel frames a second of clip, and the index tells so."""
    samples, rate = native(sounds / NAME)
    assert rate == 22_050
    write_manifest(tmp_path / "m.csv", [Clip("a", "x", audio_path=str(sounds / NAME))])
    config = BuildConfig(audio=LOGMEL_PRESETS["released-code"], shards=ShardSpec(clips_per_shard=1))
    build_shards(tmp_path / "m.csv", tmp_path / "out", config, Limits())
    dataset = Dataset(tmp_path / "out")
    stored = dataset.read_clip(0).logmel
    assert len(stored) == dataset.num_mel_frames[0] == 1 + len(samples) // 160
    assert np.abs(stored.astype(float) - log_mel(samples, config.audio).astype(float)).max() < 0.05
    assert dataset.mel_rates_hz[0] == pytest.approx(22_050 / 160, rel=0.01)


def test_the_preset_gives_what_is_not_given(sounds, tmp_path):
    write_manifest(tmp_path / "m.csv", [Clip("a", "x", audio_path=str(sounds / NAME))])
    arguments = ["build-shards", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out"), "--workers", "1"]
    done = CliRunner().invoke(main, [*arguments, "--logmel-preset", "text-16k", "--num-mel-bands", "64"])
    assert done.exit_code == 0, done.output
    sound = json.loads((tmp_path / "out" / "plan" / "build.json").read_text())["config"]["audio"]
    assert (sound["sample_rate_hz"], sound["window_samples"], sound["hop_samples"]) == (16_000, 512, 160)
    assert (sound["num_mel_bands"], sound["top_db"], sound["resample"]) == (64, 100.0, True)
    dataset = Dataset(tmp_path / "out")
    assert dataset.num_mel_frames[0] == 1 + int(100 * dataset.duration_seconds[0])
    assert set(dataset.mel_rates_hz) == {100.0}
    again = CliRunner().invoke(main, [*arguments, "--config", str(tmp_path / "out" / "plan" / "build.json")])
    assert "0 shards built, 1 kept" in again.output
