"""build-shards --dry-run against what the build then does; nothing is written."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from avprep.build.dry_run import forecast
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.errors import Interrupted, UserError
from avprep.manifest.read_write import Clip, read_manifest, write_manifest

CONFIG = BuildConfig(video=VideoSpec(frame_size=48), shards=ShardSpec(clips_per_shard=4))


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def stored_bytes(out: Path) -> int:
    return sum(path.stat().st_size for path in out.rglob("*.tar"))


@pytest.mark.slow
def test_a_forecast_holds_against_the_build(demo_clips, tmp_path):
    """Whole 2 to 3 s clips, cuts of them, one file that lacks and one that is no media."""
    source = demo_clips.parent
    clips = [
        dataclasses.replace(clip, video_path=str(source / clip.video_path), start_seconds=0.5, end_seconds=1.5)
        if place % 2 else dataclasses.replace(clip, video_path=str(source / clip.video_path))
        for place, clip in enumerate(read_manifest(demo_clips)[:30])
    ]  # fmt: skip
    write_manifest(tmp_path / "m.csv", [*clips, Clip("gone", "a", video_path="gone.mp4", group="x")])
    config = dataclasses.replace(CONFIG, video=VideoSpec(frame_size=48, frame_codec="jpeg"))
    before = tree(tmp_path)
    found = forecast(tmp_path / "m.csv", tmp_path / "out", config, Limits(), workers=2)
    assert tree(tmp_path) == before
    assert found.findings.missing == ["gone"]
    assert (found.clips_to_build, found.clips_with_span, found.sampled, found.failures) == (31, 15, 20, {})
    assert found.estimate is not None
    build_shards(tmp_path / "m.csv", tmp_path / "out", config, Limits(), workers=2)
    assert found.shards == len(list((tmp_path / "out").rglob("*.tar")))
    paddings = found.shards * 10_240
    real = stored_bytes(tmp_path / "out") - paddings
    assert 0.85 * real < found.estimate.stored_bytes < 1.15 * real
    assert found.estimate.work_seconds == pytest.approx(found.estimate.seconds_per_clip * 30 / 2)
    assert 0.005 < found.estimate.seconds_per_clip < 60
    after = forecast(tmp_path / "m.csv", tmp_path / "out", config, Limits(), workers=2)
    assert (after.shards_done, after.clips_to_build, after.sampled, after.estimate) == (found.shards, 0, 0, None)
    assert "nothing is left to decode" in after.lines()


@pytest.mark.slow
def test_the_command_prints_one_screen_and_writes_nothing(demo_clips, tmp_path):
    shutil.copytree(demo_clips.parent, tmp_path / "clips")
    rows = read_manifest(tmp_path / "clips" / "manifest.csv")[:6]
    (tmp_path / "clips" / rows[0].video_path).write_bytes(b"no media at all")
    write_manifest(tmp_path / "clips" / "m.csv", rows)
    before = tree(tmp_path)
    command = ["build-shards", str(tmp_path / "clips" / "m.csv"), "--out", str(tmp_path / "out"), "--dry-run"]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert tree(tmp_path) == before
    assert len(done.output.splitlines()) < 24
    for words in ("clips   6 (", "sample  6 clips decoded on trial, 1 not-media failed", "GB are free", "minutes"):
        assert words in done.output


@pytest.mark.slow
def test_where_no_clip_can_be_decoded(tmp_path):
    (tmp_path / "m.csv").write_text("video_path,label\na.mp4,x\nb.mp4,x\nc.mp4,x\n")
    (tmp_path / "c.mp4").touch()
    found = forecast(tmp_path / "m.csv", tmp_path / "out", CONFIG, Limits())
    assert found.estimate is None
    assert "2 clips have no file and will fail, such as a.mp4" in "\n".join(found.lines())
    assert "disk and hours are unknown" in found.lines()[-1]


def test_a_dry_run_refuses_what_the_build_would(demo_dataset, demo_clips, tmp_path):
    with pytest.raises(UserError, match="frame_size: 48 -> 64"):
        forecast(demo_clips, demo_dataset, dataclasses.replace(CONFIG, video=VideoSpec(frame_size=64)), Limits())
    (tmp_path / "other.txt").touch()
    with pytest.raises(UserError, match="not empty"):
        forecast(demo_clips, tmp_path, CONFIG, Limits())
    with pytest.raises(UserError, match="partition"):
        forecast(demo_clips, tmp_path / "out", CONFIG, Limits(), partition=(2, 2))


def test_a_dry_run_can_be_stopped(demo_clips, tmp_path):
    with pytest.raises(Interrupted):
        forecast(demo_clips, tmp_path / "out", CONFIG, Limits(), stopping=lambda: True)


@pytest.mark.slow
def test_partitions_share_the_clips(demo_clips, tmp_path):
    for clip in read_manifest(demo_clips):
        (tmp_path / clip.video_path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / clip.video_path).touch()
    parts = [forecast(demo_clips, tmp_path / "out", CONFIG, Limits(), partition=(part, 2),
                      stopping=lambda: False, root=tmp_path) for part in (0, 1)]  # fmt: skip
    assert sum(part.clips_to_build for part in parts) == 80
    assert all(0 < part.clips_to_build < 80 for part in parts)
