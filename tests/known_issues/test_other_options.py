"""A grown manifest was refused by two digests; a damaged dataset could be repaired, and nothing said how."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from tests.known_issues.test_missing_is_no_property import stored

OPTIONS = ["--num-mel-bands", "64", "--clips-per-shard", "1", "--workers", "1"]


def call(command, *arguments, status=0):
    done = CliRunner().invoke(main, [command, *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture(scope="module")
def built(tmp_path_factory, sounds):
    """A folder with clips/, m.csv of three of them, and their dataset out/."""
    folder = tmp_path_factory.mktemp("built")
    clips = [Clip(f"c{number}", "ab"[number % 2], audio_path=f"clips/{number}.ogg") for number in range(3)]
    (folder / "clips").mkdir()
    for clip in clips:
        shutil.copy(sounds / "elec_blip.ogg", folder / clip.audio_path)
    write_manifest(folder / "m.csv", clips)
    call("build-shards", folder / "m.csv", "--out", folder / "out", *OPTIONS)
    return folder


@pytest.mark.slow
def test_clips_that_came_went_and_changed_are_named(built, tmp_path):
    clips = read_manifest(built / "m.csv")
    changed = [Clip(**{**{name: getattr(clips[1], name) for name in clips[1].__slots__}, "split": "test"}), *clips[2:]]
    new = [Clip(f"n{number}", "a", audio_path=f"clips/{number}.ogg") for number in range(5)]
    write_manifest(tmp_path / "m.csv", [*changed, *new])
    for options in (OPTIONS, [*OPTIONS, "--dry-run"]):
        said = call("build-shards", tmp_path / "m.csv", "--root", built, "--out", built / "out", *options, status=2)
        assert "5 clips came: n0, n1, n2 and 2 more" in said
        assert "1 clips went: c0\n" in said
        assert "1 clips changed: c1 (split 'train' -> 'test')\n" in said
        assert "give another --out" in said
        assert "manifest_digest" not in said
        assert "num_mel_bands" not in said
    write_manifest(tmp_path / "m.csv", clips[::-1])
    said = call("build-shards", tmp_path / "m.csv", "--root", built, "--out", built / "out", status=2)
    assert "the same clips in another order" in said
    assert "num_mel_bands: 64 -> 128" in said


@pytest.mark.slow
def test_a_damaged_dataset_is_repaired_from_its_own_plan(built, tmp_path):
    """By the command that verify and the refusal print, without the manifest that it was built from."""
    out = tmp_path / "out"
    shutil.copytree(built / "out", out)
    whole = stored(out)
    tar = next(out.rglob("*.tar"))
    tar.write_bytes(tar.read_bytes().replace(b"NUMPY", b"numpy"))
    said = call("verify", out, status=1)
    command = said.splitlines()[-1].strip()
    assert (
        f"avprep build-shards {out}/plan/manifest.parquet --out {out} --config {out}/plan/build.json --root CLIPS"
        in said
    )
    assert "to repair: delete the files below shards/" in said
    tar.unlink()
    tar.with_suffix(".json").unlink()
    words = command.replace("CLIPS", str(built)).split()[1:]
    assert "1 shards built, 2 kept" in call(*words)
    assert stored(out) == whole
    call("verify", out)
