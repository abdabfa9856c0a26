"""Folders, splits and rates that cannot be meant were taken in silence, and met much later or never."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from avprep.build.run import prepare
from avprep.cli import main
from avprep.config import BuildConfig, VideoSpec
from avprep.manifest.checks import examine
from avprep.manifest.read_write import read_manifest


def call(*arguments, status=0):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path, *rows):
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("spelled", "split"),
    [("training", "train"), ("Train", "train"), ("VALIDATION", "val"), ("valid", "val"), ("Testing", "test")],
)
def test_splits_of_other_spellings_are_those_that_are_meant(tmp_path, spelled, split):
    """In a table, and in a manifest that goes straight into the build."""
    touch(tmp_path, "a.wav", "b.wav")
    table = write(tmp_path / "t.csv", "label,audio_path,split", f"x,a.wav,{spelled}", "x,b.wav,train")
    call("manifest", "table", table, "--out", tmp_path / "m.csv")
    for manifest in (table, tmp_path / "m.csv"):
        assert [clip.split for clip in read_manifest(manifest)] == [split, "train"]


def test_a_root_one_level_too_high_is_reported(tmp_path):
    touch(
        tmp_path, *(f"c/{s}/{label}/{k}.wav" for s in ("grid", "esc10") for label in ("red", "dog") for k in range(3))
    )
    touch(tmp_path, "c/flat/1.wav", "c/flat/deeper/2.wav", "c/one/only/1.wav")
    said = call("manifest", "folder", "--root", tmp_path / "c", "--out", tmp_path / "m.csv")
    assert "2 classes have all clips in sub-folders; if those are classes, give the folder above as --root" in said
    assert "such as esc10 (dog, red)" in said
    said = call("manifest", "folder", "--root", tmp_path / "c" / "grid", "--out", tmp_path / "m2.csv")
    assert "sub-folders" not in said


def test_media_that_no_row_names_are_counted(tmp_path):
    touch(tmp_path, "c/dog/1.wav", "c/dog/2.wav", "c/dog/notes.txt", "c/lost.wav")
    table = write(tmp_path / "t.csv", "label,audio_path", "x,dog/1.wav")
    said = call("manifest", "table", table, "--root", tmp_path / "c", "--out", tmp_path / "m.csv")
    assert "2 media files below --root are in no row, such as lost.wav" in said
    said = call("manifest", "folder", "--root", tmp_path / "c", "--out", tmp_path / "m2.csv")
    assert "1 media files below --root are in no row, such as lost.wav" in said


@pytest.mark.slow
def test_a_missing_split_is_reported_by_the_manifest_and_before_the_build(tmp_path):
    touch(tmp_path, "c/dog/1.wav", "c/dog/2.wav")
    manifest = tmp_path / "m.csv"
    said = call("manifest", "folder", "--root", tmp_path / "c", "--out", manifest, "--test-share", 0)
    assert "no clip is in the test split, which 'avtrain evaluate' needs" in said
    said = call("build-shards", manifest, "--out", tmp_path / "out", "--dry-run", "--workers", 1)
    assert "no clip is in the test split, which 'avtrain evaluate' needs" in said
    clips = read_manifest(write(tmp_path / "t.csv", "label,audio_path,split", "x,c/dog/1.wav,extra"))
    assert "no clip is in the train split" in "\n".join(examine(clips, np.ones(1, bool), tmp_path).lines())


@pytest.mark.slow
def test_a_rate_that_training_cannot_use_is_reported_before_the_build(tmp_path, caplog):
    from avprep.build.run import untrainable

    touch(tmp_path, "1.mp4", "1.wav")
    for paths, rate, warned in (("1.mp4,", 25, True), ("1.mp4,", 24, False), (",1.wav", 25, False)):
        table = write(tmp_path / "t.csv", "label,video_path,audio_path", f"x,{paths}")
        config = BuildConfig(video=VideoSpec(frame_rate_hz=rate))
        assert bool(untrainable(prepare(table, config), config)) == warned
    base = ["build-shards", write(tmp_path / "t.csv", "label,video_path", "x,1.mp4"), "--out", tmp_path / "out"]
    call(*base, "--frame-rate-hz", 25, "--workers", 1, status=2)  # the file is empty
    assert "'avtrain pretrain' needs a --frame-rate-hz that is a multiple of 4" in caplog.text
