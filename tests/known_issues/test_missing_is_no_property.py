"""A build with a wrong --root marked clips as missing for good: the right one then kept the gaps, and exit code 0."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.manifest.read_write import Clip, write_manifest

CLIPS = [
    Clip(f"{split}{k}", "ab"[k], split, audio_path=f"{split}/{k}.ogg") for split in ("train", "test") for k in (0, 1)
]


def build(manifest, out, *options, status=0):
    done = CliRunner().invoke(main, ["build-shards", str(manifest), "--out", str(out), "--workers", "1", *options])
    assert done.exit_code == status, done.output
    return done.output


def stored(folder):
    """Bytes of all that a build makes but its reports, whose times differ."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name != "reports")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def clips(tmp_path, sounds):
    """A manifest of four clips in two splits whose files are in clips/, those of the test split not yet."""
    write_manifest(tmp_path / "m.csv", CLIPS)
    for clip in CLIPS:
        path = tmp_path / ("clips" if clip.split == "train" else "later") / clip.audio_path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sounds / "elec_blip.ogg", path)
    return tmp_path


def test_where_no_file_is_there_nothing_is_built(clips):
    for options in ([], ["--dry-run"], ["--partition", "0/2"]):
        said = build(clips / "m.csv", clips / "out", "--root", str(clips / "nowhere"), *options, status=2)
        assert f"Not one file that {clips / 'm.csv'} names is there" in said
        assert f"such as {clips / 'nowhere' / CLIPS[0].audio_path}; --root names" in said
        assert not (clips / "out").exists()


def test_where_no_file_is_there_at_a_url_nothing_is_built_either(clips):
    for root in ("memory://nowhere", str(clips)):
        names = [f"{'' if root != str(clips) else 'memory://nowhere/'}{number}.ogg" for number in range(50)]
        write_manifest(clips / "u.csv", [Clip(name, "x", audio_path=name) for name in names])
        said = build(clips / "u.csv", clips / "out", "--root", root, status=2)
        assert f"Not one file that {clips / 'u.csv'} names is there, such as memory://nowhere/0.ogg" in said
        assert not (clips / "out").exists()


@pytest.mark.slow
def test_clips_that_were_missing_are_looked_for_again(clips, caplog):
    """The split that a build empties is named, before and after; the second build is the one of a whole folder."""
    root = ["--root", str(clips / "clips")]
    assert "no clip of the test split has a file, so it will be empty" in build(
        clips / "m.csv", clips / "out", *root, "--dry-run"
    )
    said = build(clips / "m.csv", clips / "out", *root)
    assert "no clip of the test split has a file, so it will be empty" in caplog.text
    assert "2 failed" in said
    assert "the test split is EMPTY: not one of its 2 clips is left" in said
    report = json.loads((clips / "out" / "reports" / "build-0-of-1.json").read_text())
    assert report["clips_by_split"] == {"train": {"good": 2, "failed": 0}, "test": {"good": 0, "failed": 2}}
    assert "0 shards built, 4 kept" in build(clips / "m.csv", clips / "out", *root)  # still not there
    shutil.move(clips / "later" / "test", clips / "clips" / "test")
    caplog.clear()
    again = build(clips / "m.csv", clips / "out", *root)
    assert "4 clips, 0 failed; 2 shards built, 2 kept" in again
    assert "EMPTY" not in again
    assert "2 clips that were missing are there now, such as test0" in caplog.text
    build(clips / "m.csv", clips / "whole", *root)
    assert stored(clips / "out") == stored(clips / "whole")


def test_a_file_that_could_not_be_read_is_tried_again_once_it_can(tmp_path):
    """Other reasons, which are of the clip, wait for --retry-failed."""
    from avprep.build.sources import retried

    (tmp_path / "a.ogg").write_bytes(b"x")
    clips, failure = [Clip("a", "x", audio_path="a.ogg")], {"row": 0, "clip_id": "a"}
    found: list[str] = []
    worth = retried(clips, str(tmp_path), False, found)
    assert worth({**failure, "reason": "io"})
    assert worth({**failure, "reason": "missing"})
    assert not worth({**failure, "reason": "not-media"})
    assert retried(clips, str(tmp_path), True, [])({**failure, "reason": "not-media"})
    assert found == ["a", "a"]
    (tmp_path / "a.ogg").unlink()
    os.mkdir(tmp_path / "a.ogg")
    assert not worth({**failure, "reason": "io"})
