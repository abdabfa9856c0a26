"""How shards are built: as JPEG, through Ray, with a report, up to the end of a hopeless build."""

from __future__ import annotations

import json
import shutil
import tarfile

import numpy as np
import pytest

from avprep import schema
from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from tests.prep.test_build import CONFIG, start, tree, wait_for_markers


@pytest.mark.slow
def test_jpeg_shards_hold_the_same_pictures_in_a_quarter_of_the_bytes(demo_clips, demo_dataset, tmp_path):
    """Sizes beside each tar find every picture; a lost sizes file means the shard is built again."""
    out = tmp_path / "jpeg"
    config = BuildConfig(video=VideoSpec(frame_size=48, frame_codec="jpeg", jpeg_quality=92), shards=CONFIG.shards)
    build_shards(demo_clips, out, config, Limits(), workers=2)
    raw, small = Dataset(demo_dataset), Dataset(out)
    assert small.clip_ids == raw.clip_ids
    assert small.frames_bytes.sum() < raw.frames_bytes.sum() / 4
    for row in range(len(raw)):
        want, got = raw.read_clip(row), small.read_clip(row)
        assert np.array_equal(want.logmel, got.logmel)
        assert got.frames.shape == want.frames.shape
        for dataset, clip in ((raw, want), (small, got)):
            assert np.array_equal(dataset.read_frames(row, 3, 5), clip.frames[3:5])
        assert np.abs(want.frames.astype(int) - got.frames).mean() < 6  # fine noise at 48 px
        with tarfile.open(out / small.shards[small.shard[row]]) as tar:
            data = tar.extractfile(schema.clip_key(small.clip_ids[row]) + ".frames.mjpg").read()
        pictures = data.split(b"\xff\xd8\xff")[1:]
        assert [3 + len(picture) for picture in pictures] == small.frame_sizes(row).tolist()
    before = tree(out)
    lost = sorted(out.glob("shards/*/*/*.sizes.npy"))[3]
    assert np.load(lost).dtype == np.uint32
    lost.unlink()
    assert build_shards(demo_clips, out, config, Limits(), workers=1).shards_built == 1
    assert tree(out) == before


def test_a_damaged_picture_is_a_sentence(demo_clips, tmp_path):
    out = tmp_path / "jpeg"
    config = BuildConfig(video=VideoSpec(frame_size=48, frame_codec="jpeg"))
    write_manifest(tmp_path / "two.csv", read_manifest(demo_clips)[:2])
    build_shards(tmp_path / "two.csv", out, config, Limits(), root=demo_clips.parent)
    dataset = Dataset(out)
    with open(out / dataset.shards[0], "r+b") as tar:
        tar.seek(int(dataset.frames_offset[0]))
        tar.write(b"no picture")
    with pytest.raises(UserError, match="damaged picture"):
        dataset.read_clip(0)


@pytest.mark.slow
def test_a_hopeless_build_stops_with_advice(demo_clips, tmp_path):
    """Fewer failures than the limit in a row pass; the limit ends the build. One shard, so that clips come in order."""
    first, second = read_manifest(demo_clips)[:2]
    good = [
        Clip(name, "x", "train", str(demo_clips.parent / c.video_path)) for name, c in (("a", first), ("b", second))
    ]
    gone = [Clip(f"gone-{n}", "x", "train", f"gone-{n}.mp4") for n in range(5)]
    write_manifest(tmp_path / "m.csv", [good[0], *gone[:3], good[1], *gone[3:]])
    config = BuildConfig(video=VideoSpec(frame_size=48))
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"3 clips in a row failed, the last gone-2.mp4 \(missing: no such file\)"):
        build_shards(tmp_path / "m.csv", out, config, Limits(), max_consecutive_failures=3)
    report = json.loads((out / "reports" / "build-0-of-1.json").read_text())
    assert (report["outcome"], report["clips_good"], report["failures_by_reason"]) == ("failed", 1, {"missing": 3})
    assert not list(out.glob("shards/*/*/*"))
    result = build_shards(tmp_path / "m.csv", out, config, Limits(), max_consecutive_failures=4)
    assert (result.clips, result.failures) == (2, {"missing": 5})
    assert build_shards(tmp_path / "m.csv", tmp_path / "any", config, Limits(), max_consecutive_failures=0).clips == 2


def test_the_report_counts_what_was_built(videos, tmp_path):
    for name in ("bbb_h264_aac", "bbb_noaudio", "empty"):
        shutil.copy(videos / f"{name}.mp4", tmp_path)
    write_manifest(tmp_path / "m.csv", [Clip(p.name, "x", video_path=p.name) for p in sorted(tmp_path.glob("*.mp4"))])
    build_shards(tmp_path / "m.csv", tmp_path / "out", CONFIG, Limits())
    report = json.loads((tmp_path / "out" / "reports" / "build-0-of-1.json").read_text())
    assert (report["outcome"], report["clips_good"], report["clips_failed"]) == ("complete", 1, 2)
    assert report["failures_by_reason"] == {"empty": 1, "no-audio": 1}
    assert report["bytes_built"] == sum(p.stat().st_size for p in tmp_path.glob("out/shards/*/*/*.tar"))


@pytest.mark.slow
def test_ray_writes_the_same_bytes(demo_clips, demo_dataset, tmp_path, monkeypatch):
    """On a Ray of its own, whatever cluster the environment knows of."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    out = tmp_path / "demo"
    result = build_shards(demo_clips, out, CONFIG, Limits(), workers=2, executor="ray")
    assert result.clips == 80
    assert tree(out) == tree(demo_dataset)


@pytest.mark.slow
def test_sigterm_under_ray_discards_the_shards_in_work(demo_clips, demo_dataset, tmp_path):
    out = tmp_path / "demo"
    process = start(demo_clips, out, "--executor", "ray")
    wait_for_markers(out, 1, process)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    report = json.loads((out / "reports" / "build-0-of-1.json").read_text())
    assert (report["executor"], report["outcome"]) == ("ray", "interrupted")
    assert not list(out.rglob("*.tmp"))
    assert build_shards(demo_clips, out, CONFIG, Limits(), workers=2).shards_kept >= 1
    assert tree(out) == tree(demo_dataset)


def test_no_ray_at_the_address_is_a_sentence(demo_clips, tmp_path):
    with pytest.raises(UserError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 "):
        build_shards(demo_clips, tmp_path / "out", CONFIG, Limits(), executor="ray", address="127.0.0.1:1")
