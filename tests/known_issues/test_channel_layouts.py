"""Sound of any number of channels: mono is their mean, whatever the layout; old datasets keep FFmpeg's own mix."""

from __future__ import annotations

import dataclasses
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from avprep import audio_features
from avprep import config as configuration
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.errors import ClipError, UserError
from avprep.manifest.read_write import Clip, write_manifest
from avprep.media import decoders
from avprep.media.audio import Wanted, read_audio
from avprep.media.clip import decode_clip
from avprep.shared import configs, store
from avtrain.runs.data_spec import check_sounds
from tests.prep.rendering import render, tone

OLD = "swresample"
LAYOUTS = {
    "mono": ("anull", 0.0),
    "equal": ("pan=stereo|c0=c0|c1=c0", 0.0),
    "left": ("pan=stereo|c0=c0|c1=0*c0", -6.02),
    "quad": ("pan=quad|c0=c0|c1=c0|c2=c0|c3=c0", 0.0),
    "surround": ("pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0", 0.0),
    "lfe": ("pan=5.1|c0=0*c0|c1=0*c0|c2=0*c0|c3=c0|c4=0*c0|c5=0*c0", -15.56),
}


def samples(path, decoder="pyav", downmix="mean") -> np.ndarray:
    own = () if downmix == "mean" else (downmix,)
    with decoders.decoder(decoder).open_sound(path, Limits(), *own) as sound:
        return read_audio(sound, 48_000, Wanted(limit_seconds=10)).samples


def decibels(path, decoder="pyav", downmix="mean") -> float:
    return 20 * float(np.log10(np.sqrt(np.mean(samples(path, decoder, downmix) ** 2))))


def wav(path, channels: int):
    """A WAV file without a layout: a 440 Hz tone in each channel."""
    values = (0.4 * np.sin(np.arange(24_000) * 2 * np.pi * 440 / 48_000) * 32767).astype("<i2")
    data = np.repeat(values[:, None], channels, 1).tobytes()
    form = struct.pack("<HHIIHH", 1, channels, 48_000, 96_000 * channels, 2 * channels, 16)
    path.write_bytes(
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )
    return path


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    for name, (mix, _) in LAYOUTS.items():
        render(folder / f"{name}.wav", *tone(0.5), "-af", mix, "-c:a", "pcm_f32le")
    return folder


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
def test_mono_is_the_mean_of_the_channels(rendered, decoder):
    mono = decibels(rendered / "mono.wav", decoder)
    for name, (_, expected) in LAYOUTS.items():
        assert decibels(rendered / f"{name}.wav", decoder) - mono == pytest.approx(expected, abs=0.02), name


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
def test_the_old_mix_is_still_there(rendered, decoder):
    mono = decibels(rendered / "mono.wav", decoder, OLD)
    for name, gained in (("equal", 3.01), ("left", -3.01)):
        assert decibels(rendered / f"{name}.wav", decoder, OLD) - mono == pytest.approx(gained, abs=0.02)


def test_equal_channels_give_the_bytes_of_mono(rendered):
    mono = samples(rendered / "mono.wav", downmix=OLD)
    assert (samples(rendered / "mono.wav") == mono).all()
    assert (samples(rendered / "equal.wav") == mono).all()


@pytest.mark.parametrize("codec", [("ambisonic.mkv", "flac"), ("ambisonic.opus", "libopus")])
def test_ambisonic_sound_is_decoded(tmp_path, codec):
    name, encoder = codec
    family = ["-mapping_family", "2"] if encoder == "libopus" else []
    mix = "pan=ambisonic 1|c0=c0|c1=0*c0|c2=0*c0|c3=0*c0"
    path = render(tmp_path / name, *tone(0.5), "-af", mix, "-c:a", encoder, *family)
    mono = decibels(render(tmp_path / "mono.wav", *tone(0.5)))
    for decoder in ("pyav", "ffmpeg"):
        assert decibels(path, decoder) - mono == pytest.approx(-12.04, abs=0.6)


@pytest.mark.parametrize("channels", [3, 9, 60])
def test_many_channels_without_a_layout_are_decoded(tmp_path, channels):
    mono = decibels(wav(tmp_path / "mono.wav", 1))
    for decoder in ("pyav", "ffmpeg"):
        assert decibels(wav(tmp_path / "many.wav", channels), decoder) == pytest.approx(mono, abs=0.02)


def test_too_many_channels_are_named(tmp_path):
    with pytest.raises(ClipError, match="no-audio: 70 channels, at most 64"):
        samples(wav(tmp_path / "many.wav", 70))


def test_an_older_dataset_is_known_by_the_missing_setting():
    old = BuildConfig(audio=AudioSpec(downmix=OLD))
    stored = configuration.stored_config(old)
    assert "downmix" not in stored["audio"]  # and so the digest of a build that knew no such setting
    assert configuration.config_of(stored) == old
    assert configuration.config_of(configuration.stored_config(BuildConfig())) == BuildConfig()
    assert configuration.stored_config(BuildConfig())["audio"]["downmix"] == "mean"
    values = {name: value for name, value in configs.to_dict(AudioSpec()).items() if name != "downmix"}
    assert audio_features.as_spec(values).downmix == OLD
    assert audio_features.as_spec({**values, "downmix": "mean"}) == AudioSpec()


@pytest.mark.slow
def test_a_build_of_the_old_mix_is_kept_apart_and_goes_on(rendered, tmp_path):
    manifest = tmp_path / "clips.jsonl"
    write_manifest(manifest, [Clip("a", "x", audio_path=str(rendered / "equal.wav"))])
    video = VideoSpec(frame_size=32)
    old = BuildConfig(video=video, audio=AudioSpec(downmix=OLD))
    build_shards(manifest, tmp_path / "out", old, Limits())
    assert "downmix" not in store.read_json(tmp_path / "out" / "dataset.json")["audio"]
    with pytest.raises(UserError, match="downmix: 'swresample' -> 'mean'"):
        build_shards(manifest, tmp_path / "out", BuildConfig(video=video), Limits())
    assert build_shards(manifest, tmp_path / "out", old, Limits()).shards_kept == 1
    again = ["build-shards", str(manifest), "--out", str(tmp_path / "out"), "--config"]
    done = CliRunner().invoke(main, [*again, str(tmp_path / "out" / "plan" / "build.json"), "--workers", "1"])
    assert "0 shards built, 1 kept" in done.output


def test_an_encoder_of_one_mix_refuses_sounds_of_the_other():
    values = {name: value for name, value in configs.to_dict(AudioSpec()).items() if name != "downmix"}
    old, new = ({"data": {"audio": audio}} for audio in (values, {**values, "downmix": "mean"}))
    datasets = [SimpleNamespace(info={"audio": meta["data"]["audio"]}, folder="data") for meta in (old, new)]
    for meta, dataset, other in ((old, *datasets), (new, *reversed(datasets))):
        check_sounds("run", meta, dataset)
        with pytest.raises(UserError, match="downmix: '"):
            check_sounds("run", meta, other)
    check_sounds("run", {}, datasets[0])


def test_a_clip_has_the_mix_of_its_build(rendered):
    path = rendered / "equal.wav"
    mean, old = (
        decode_clip(None, path, None, None, dataclasses.replace(BuildConfig(), audio=AudioSpec(downmix=mix)), Limits())
        for mix in ("mean", OLD)
    )
    assert float(np.median(old.logmel.max(1) - mean.logmel.max(1))) == pytest.approx(3.01, abs=0.1)
