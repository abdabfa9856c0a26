"""Measures and hashes of clips, of known arrays and of stored ones; quality.parquet as it is resumed and goes stale."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import avprep
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import AudioSpec, BuildConfig, Limits, VideoSpec
from avprep.dataset import Dataset
from avprep.errors import Interrupted, UserError
from avprep.manifest.clips import Clip
from avprep.manifest.read_write import write_manifest
from avprep.media.logmel import log_mel
from avprep.quality.hashes import picture_hashes, sound_hashes
from avprep.quality.measures import COLUMNS, greys, measure
from avprep.quality.near import bits
from avprep.quality.parts import read_part
from avprep.quality.table import measure_row, read_quality, write_quality
from tests.train.forge import Forged, forge_dataset

SECONDS = 4.0
SPEC = AudioSpec()
TIME = np.arange(int(48_000 * SECONDS)) / 48_000


def pictures(seed: int, grain: float = 0.0) -> np.ndarray:
    """Frames uint8 [64, 112, 112, 3] of smooth patches that drift, with grain."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:112, 0:112] / 112
    waves = [(*draw.uniform(1, 3, 2), draw.uniform(0, 6), draw.uniform(-2, 2)) for _ in range(4)]
    times = np.arange(64)[:, None, None] / 16
    light = sum(np.sin(2 * np.pi * (a * x + b * y) + phase + speed * times) for a, b, phase, speed in waves) / 8 + 0.5
    noise = grain * np.random.default_rng(seed + 1).normal(size=(64, 112, 112, 3)) if grain else np.zeros(3)
    return np.clip(255 * light[..., None] + noise, 0, 255).astype(np.uint8)


def sound(seed: int) -> np.ndarray:
    """Samples float32 of notes at random."""
    draw = np.random.default_rng(seed)
    notes = np.zeros_like(TIME)
    for onset in np.arange(0, SECONDS, 0.2):
        hertz, level = 200 * 2 ** draw.uniform(0, 4), draw.uniform(0.1, 1)
        notes += level * np.sin(2 * np.pi * hertz * TIME) * np.exp(-(((TIME - onset) / 0.1) ** 2))
    return (0.1 * notes + 1e-3 * draw.normal(size=len(TIME))).astype(np.float32)


def of(frames, samples, waveform=True):
    grey = None if frames is None else greys(frames[::2])
    return measure(grey, 8.0, log_mel(samples, SPEC), 100.0, SECONDS, SPEC, samples if waveform else None)


def differing(one, other):
    return bits(one ^ other).sum() / max(1, bits(one | other).sum())


def test_hashes_are_those_of_the_frames_and_far_from_others():
    one, again, other = (of(pictures(seed), sound(seed)) for seed in (1, 1, 2))
    for kind in ("picture_hashes", "sound_hashes"):
        mine = getattr(one, kind)
        assert mine.dtype == np.uint64
        assert len(mine) == 8 * SECONDS
        np.testing.assert_array_equal(mine, getattr(again, kind))
        assert differing(mine, getattr(other, kind)) > 0.5
    grainy = of(pictures(1, grain=8), sound(1) + np.random.default_rng(5).normal(0, 1e-4, len(TIME)).astype(np.float32))
    assert differing(one.picture_hashes, grainy.picture_hashes) < 0.1
    assert differing(one.sound_hashes, grainy.sound_hashes) < 0.35


def test_a_clip_that_begins_later_has_the_hashes_of_its_moments():
    frames, samples = pictures(3), sound(3)
    whole, later = of(frames, samples), of(frames[4:], samples[12_000:])  # a quarter of a second: two hashes
    for kind, most in (("picture_hashes", 0.1), ("sound_hashes", 0.1)):
        ours, theirs = getattr(whole, kind)[4:-4], getattr(later, kind)[2:-6]
        assert differing(ours, theirs) < most
        assert differing(ours[8:], theirs[:-8]) > 0.3


def test_digital_silence_and_flat_pictures_have_no_hash():
    flat = of(np.full((64, 112, 112, 3), 90, np.uint8), np.zeros(len(TIME), np.float32))
    assert not flat.picture_hashes.any()
    assert not flat.sound_hashes.any()


@pytest.mark.parametrize("grey", [0, 90])
def test_a_still_picture_has_no_motion_and_silence_is_silent(grey):
    measured = of(np.full((64, 112, 112, 3), grey, np.uint8), np.zeros(len(TIME), np.float32))
    assert measured.silence == 1
    assert measured.motion == 0
    assert measured.black == (grey == 0)
    assert (measured.rms, measured.peak, measured.clipping) == (0, 0, 0)
    assert measured.level_db == pytest.approx(-100, abs=0.1)


def test_shares_are_of_the_clip():
    frames, samples = pictures(1), sound(1)
    frames[:32] = 3
    samples[: len(samples) // 4] = 0
    samples[-4800:] = 1.0
    measured = of(frames, samples)
    assert measured.black == 0.5
    assert measured.silence == pytest.approx(0.25, abs=0.02)
    assert measured.clipping == pytest.approx(4800 / len(samples))
    assert measured.peak == 1
    louder = of(frames, sound(1) * np.float32(10))
    assert louder.level_db - of(frames, sound(1)).level_db == pytest.approx(20, abs=0.2)


def test_motion_is_the_mean_change_of_a_quarter_of_a_second():
    frames = np.zeros((64, 112, 112, 3), np.uint8)
    frames[4::8] = frames[5::8] = frames[6::8] = frames[7::8] = 51  # on and off every quarter of a second
    assert of(frames, sound(1)).motion == pytest.approx(0.2, abs=1e-6)
    assert of(frames[:1], sound(1)).motion is None
    sounds_only = of(None, sound(1), waveform=False)
    assert (sounds_only.motion, sounds_only.black, sounds_only.picture_hashes) == (None, None, None)
    assert (sounds_only.rms, sounds_only.peak, sounds_only.clipping) == (None, None, None)


@pytest.mark.parametrize("size", [8, 30, 1024])
def test_pictures_of_any_size_and_few_bands_have_hashes(size):
    frames = np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.uint8)
    spec = AudioSpec(num_mel_bands=1)
    logmel = np.random.default_rng(0).uniform(-60, 0, (20, 1)).astype(np.float32)
    assert len(picture_hashes(greys(frames).astype(np.float32) / 3, 8.0, 0.3)) == 2
    assert len(sound_hashes(logmel, 100.0, 0.3, spec)) == 2


@pytest.fixture
def forged(tmp_path):
    clips = [Forged("ab"[row % 2], "train" if row < 8 else "test", pictures=row != 3) for row in range(12)]
    return forge_dataset(tmp_path / "data", clips, 2)


def parts(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "quality").rglob("*.parquet")}


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_the_table_has_the_measures_of_the_stored_arrays_in_the_order_of_the_index(tmp_path, codec):
    clips = [Forged("ab"[row % 2], pictures=row != 3, seconds=2 + row / 7) for row in range(9)]
    folder = forge_dataset(tmp_path / "data", clips, 2, codec)
    dataset = Dataset(folder)
    table = read_quality(dataset) if write_quality(folder).exists() else None
    assert table.schema.equals(COLUMNS)
    assert table.column("clip_id").to_pylist() == dataset.clip_ids
    for row, values in enumerate(table.to_pylist()):
        clip = dataset.read_clip(row)
        grey = None if clip.frames is None else greys(clip.frames[::2])
        spec = AudioSpec(num_mel_bands=6)
        wanted = measure(grey, 8.0, clip.logmel, 100.0, float(dataset.duration_seconds[row]), spec)
        for name in ("silence", "level_db", "motion", "black"):
            assert values[name] == (None if getattr(wanted, name) is None else pytest.approx(getattr(wanted, name)))
        assert values["sound_hashes"] == wanted.sound_hashes.tolist()
        assert values["picture_hashes"] == (None if grey is None else wanted.picture_hashes.tolist())
        assert values["clipping"] is None


def test_workers_write_the_same_bytes(forged):
    alone = write_quality(forged).read_bytes()
    (forged / "quality.parquet").unlink()
    for path in parts(forged):
        path.unlink()
    assert write_quality(forged, workers=2).read_bytes() == alone


def test_a_table_of_another_index_is_refused_and_made_anew_from_its_parts(forged):
    path = write_quality(forged)
    before, stamp = parts(forged), path.stat().st_mtime_ns
    assert write_quality(forged).stat().st_mtime_ns == stamp
    avprep.exclude(forged, ["c4"], reason="test")
    dataset = Dataset(forged)
    with pytest.raises(UserError, match=r"earlier state of the dataset.*avprep quality"):
        read_quality(dataset)
    write_quality(forged)
    assert parts(forged) == before
    assert read_quality(dataset).column("clip_id").to_pylist() == dataset.clip_ids
    (forged / "excluded.jsonl").unlink()
    avprep.finalize(forged)
    write_quality(forged)
    assert len(read_quality(Dataset(forged))) == 12


def test_shards_of_other_bytes_and_damaged_parts_are_measured_again(forged):
    write_quality(forged)
    (forged / "quality.parquet").unlink()
    one, other, *rest = parts(forged)
    one.write_bytes(b"PAR1")
    other.write_bytes(rest[0].read_bytes())
    kept = {path: parts(forged)[path] for path in rest}
    dataset = Dataset(write_quality(forged).parent)
    assert read_quality(dataset).column("sound_hashes")[5].as_py() == measure_row(dataset, 5).sound_hashes.tolist()
    assert {path: parts(forged)[path] for path in rest} == kept


def test_an_interrupted_measurement_goes_on(forged):
    with pytest.raises(Interrupted):
        write_quality(forged, stopping=lambda: True)
    (first,) = parts(forged).items()
    assert not (forged / "quality.parquet").exists()
    write_quality(forged)
    assert parts(forged)[first[0]] == first[1]
    assert len(read_quality(Dataset(forged))) == 12


def test_the_command_prints_what_is_suspicious(forged):
    done = CliRunner().invoke(main, ["quality", str(forged), "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "quality.parquet: 12 clips" in done.output
    assert "silent (silence > 0.9): 0; 5, 50, 95 % of clips: 0, 0, 0" in done.output
    assert "still pictures (motion < 0.002): 0" in done.output
    assert "clipped" not in done.output


def test_what_has_no_table_yet_is_named(forged, tmp_path):
    for words in (
        ["duplicates", forged, "--out", tmp_path / "d.csv"],
        ["select", forged, "--where", "motion > 0", "--name", "x"],
    ):
        done = CliRunner().invoke(main, list(map(str, words)))
        assert done.exit_code == 2
        assert f"quality.parquet does not exist; 'avprep quality {forged}' writes it." in done.output
    done = CliRunner().invoke(main, ["quality", str(tmp_path)])
    assert done.exit_code == 2
    assert "is no finished dataset" in done.output


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_build_that_measures_writes_the_same_dataset_and_knows_the_waveform(videos, tmp_path):
    names = ["bbb_h264_aac.mp4", "bbb_vfr.mkv", "garbage.mp4"]
    write_manifest(tmp_path / "m.csv", [Clip(name, "rabbit", video_path=str(videos / name)) for name in names])
    config = BuildConfig(video=VideoSpec(frame_size=48))
    for name in ("plain", "measured"):
        build_shards(tmp_path / "m.csv", tmp_path / name, config, Limits(), quality=name == "measured")
    plain, measured = files(tmp_path / "plain"), files(tmp_path / "measured")
    extra = measured.keys() - plain.keys()
    assert extra == {"quality.parquet", "quality/train/0000-rabbit/000000.parquet"}
    assert {n: d for n, d in measured.items() if n not in extra and "reports/" not in n} == {
        n: d for n, d in plain.items() if "reports/" not in n
    }
    while_decoding = pq.read_table(tmp_path / "measured" / "quality.parquet").to_pylist()
    stored = pq.read_table(write_quality(tmp_path / "plain")).to_pylist()
    waveform = {"rms", "peak", "clipping"}
    assert len(stored) == 2
    for one, other in zip(while_decoding, stored, strict=True):
        assert {n: v for n, v in one.items() if n not in waveform} == {
            n: v for n, v in other.items() if n not in waveform
        }
        assert all(other[name] is None for name in waveform)
        assert 0 < one["rms"] < one["peak"] <= 1.5
    assert avprep.verify_dataset(tmp_path / "measured").problems == []
    assert read_part(tmp_path / "measured", "shards/train/0000-rabbit/000000.tar").num_rows == 2


def test_a_build_at_a_url_does_not_measure(tmp_path):
    done = CliRunner().invoke(main, ["build-shards", "m.csv", "--out", "s3://b/d", "--quality"])
    assert done.exit_code == 2
    assert "build without --quality, and run 'avprep quality' on a copy" in done.output
