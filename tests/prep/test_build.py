"""build-shards on real files: what any tool can read back, what survives a kill, what bad clips cost."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from avprep import schema
from avprep.build.finalize import finalize
from avprep.build.run import build_shards
from avprep.build.shards import PlannedShard, ShardJob, build_shard
from avprep.build.workers import Workers
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.dataset import Dataset
from avprep.errors import ClipError, Interrupted, UserError
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avprep.shared.store import folder_lock
from tests.processes import DECODER, processes_below

CONFIG = BuildConfig(video=VideoSpec(frame_size=48), shards=ShardSpec(clips_per_shard=4))
COMMAND = ["--frame-size", "48", "--clips-per-shard", "4", "--workers", "2"]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a dataset folder but the reports, which hold times."""
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith("reports/")}


def start(manifest: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    script = "from avprep.cli import main; main()"
    command = [sys.executable, "-c", script, "build-shards", str(manifest), "--out", str(out), *COMMAND, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def shards_done(out: Path) -> int:
    return len(list(out.glob("shards/*/*/*.json")))


def wait_for_markers(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 120
    while shards_done(out) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.fixture(scope="module")
def few(demo_clips, tmp_path_factory) -> tuple[Path, Path]:
    """(manifest, dataset folder) of the 20 clips of two classes, six shards."""
    folder, clips = tmp_path_factory.mktemp("few"), read_manifest(demo_clips)
    some = sorted({clip.label for clip in clips})[:2]
    near = [
        dataclasses.replace(clip, video_path=str(demo_clips.parent / clip.video_path))
        for clip in clips
        if clip.label in some
    ]
    write_manifest(folder / "m.csv", near)
    build_shards(folder / "m.csv", folder / "built", CONFIG, Limits())
    return folder / "m.csv", folder / "built"


def test_index_offsets_give_the_arrays_of_the_tar(demo_dataset):
    dataset = Dataset(demo_dataset)
    table = pq.read_table(demo_dataset / "index.parquet")
    assert table.schema.names == schema.INDEX_SCHEMA.names
    assert len(dataset) == table.num_rows == 80
    for row, entry in enumerate(table.to_pylist()):
        with tarfile.open(demo_dataset / entry["shard"]) as tar:
            frames = np.load(io.BytesIO(tar.extractfile(entry["key"] + ".frames.npy").read()))
            logmel = np.load(io.BytesIO(tar.extractfile(entry["key"] + ".logmel.npy").read()))
            meta = json.loads(tar.extractfile(entry["key"] + ".json").read())
        clip = dataset.read_clip(row)
        assert np.array_equal(clip.frames, frames)
        assert np.array_equal(clip.logmel, logmel)
        assert (frames.dtype, frames.nbytes) == (np.uint8, entry["frames_bytes"])
        assert frames.shape == (int(16 * entry["duration_seconds"] + 1e-9), 48, 48, 3)
        assert logmel.shape == (1 + int(100 * entry["duration_seconds"] + 1e-9), 128)
        assert meta["clip_id"] == entry["clip_id"]
        assert meta["label"] == dataset.class_names[entry["label"]]


def test_webdataset_and_tar_read_the_shards(demo_dataset):
    import webdataset

    shards = sorted(str(path) for path in demo_dataset.glob("shards/*/*/*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode())
    assert len(samples) == 80
    assert all(sample["frames.npy"].shape[1:] == (48, 48, 3) for sample in samples)
    assert {sample["__key__"] for sample in samples} == set(
        pq.read_table(demo_dataset / "index.parquet").column("key").to_pylist()
    )
    listing = subprocess.run(["tar", "tvf", shards[0]], capture_output=True, text=True, check=True)
    assert len(listing.stdout.splitlines()) == 3 * 4
    assert listing.stderr == ""


def test_one_class_a_shard_and_whole_statistics(demo_dataset):
    dataset = Dataset(demo_dataset)
    for shard in range(len(dataset.shards)):
        assert len({*dataset.label[dataset.shard == shard]}) == 1
    train = [dataset.read_clip(row).logmel.astype(np.float64) for row in dataset.rows_of("train")]
    assert np.allclose(dataset.logmel_mean, np.concatenate(train).mean(axis=0), atol=1e-9)
    assert np.allclose(dataset.logmel_std, np.concatenate(train).std(axis=0), atol=1e-9)
    counts = dataset.info["counts"]
    assert all(counts["train"][name] == 6 and counts["test"][name] == 4 for name in dataset.class_names)


@pytest.mark.slow
def test_a_killed_build_resumes_to_the_same_bytes(demo_clips, demo_dataset, tmp_path):
    """kill -9 of the parent, then of a worker: the folder ends byte-identical, and no process stays behind."""
    out = tmp_path / "demo"
    process = start(demo_clips, out)
    wait_for_markers(out, 2, process)
    workers = processes_below(process.pid, DECODER)
    assert len(workers) == 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "a worker outlived its parent"
    before = {p: p.stat().st_mtime_ns for p in out.glob("shards/*/*/*.tar") if marker_of(p).exists()}
    assert len(before) >= 2

    process = start(demo_clips, out)
    wait_for_markers(out, len(before) + 2, process)
    processes_below(process.pid, DECODER)[0].kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert {p: p.stat().st_mtime_ns for p in before} == before, "a finished shard was written again"
    assert tree(out) == tree(demo_dataset)


def marker_of(tar: Path) -> Path:
    return tar.with_suffix(".json")


@pytest.mark.slow
def test_sigterm_discards_the_shard_in_work_and_the_same_command_goes_on(demo_clips, demo_dataset, tmp_path):
    out = tmp_path / "demo"
    process = start(demo_clips, out)
    wait_for_markers(out, 1, process)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "resumes" in errors
    assert not list(out.rglob("*.tmp"))
    assert not (out / "dataset.json").exists()
    process = start(demo_clips, out)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert tree(out) == tree(demo_dataset)


@pytest.mark.slow
def test_partitions_and_worker_counts_give_the_same_bytes(few, tmp_path):
    (manifest, built), out = few, tmp_path / "out"
    for part in (2, 0):
        assert not build_shards(manifest, out, CONFIG, Limits(), workers=1, partition=(part, 3)).complete
    with pytest.raises(UserError, match="are not built yet"):
        finalize(out)
    build_shards(manifest, out, CONFIG, Limits(), workers=2, partition=(1, 3))
    assert finalize(out).clips == 20
    assert tree(out) == tree(built)


@pytest.mark.slow
def test_bad_clips_cost_themselves_and_are_listed_with_the_reason(videos, tmp_path):
    folder = tmp_path / "clips"
    for name in ("good", "bad"):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        shutil.copy(videos / "bbb_h264_aac.mp4", folder / "good" / f"{number}.mp4")
    for name in ("empty", "bbb_truncated", "bbb_noaudio"):
        shutil.copy(videos / f"{name}.mp4", folder / "bad" / f"{name}.mp4")
    (folder / "bad" / "text.mp4").write_text("not a film\n" * 30)
    script = "from avprep.cli import main; main()"
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    for arguments in (
        ["manifest", "folder", "--root", folder, "--out", manifest, "--test-share", "0"],
        ["build-shards", manifest, "--out", out],
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert [(f["clip_id"], f["reason"]) for f in failures] == [
        ("bad/bbb_noaudio.mp4", "no-audio"),
        ("bad/bbb_truncated.mp4", "truncated"),
        ("bad/empty.mp4", "empty"),
        ("bad/text.mp4", "not-media"),
    ]
    assert str(tmp_path) not in (out / "failures.jsonl").read_text()
    assert "3 clips, 4 failed" in done.stdout
    assert all(f["clip_id"] in done.stdout for f in failures)
    dataset = Dataset(out)
    assert sorted(dataset.clip_ids) == ["good/0.mp4", "good/1.mp4", "good/2.mp4"]
    assert dataset.class_names == ["bad", "good"]
    assert len(list(out.glob("shards/train/0000-bad/*.json"))) == 1, "a shard whose clips all failed has its marker"


def test_a_build_without_one_good_clip_is_an_error(videos, tmp_path):
    write_manifest(tmp_path / "m.csv", [Clip("a", "x", video_path=str(videos / "empty.mp4"))])
    with pytest.raises(UserError, match="Not one of 1 clips"):
        build_shards(tmp_path / "m.csv", tmp_path / "out", CONFIG, Limits())
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_other_options_are_refused_with_the_difference(demo_clips, demo_dataset, tmp_path):
    out = tmp_path / "demo"
    shutil.copytree(demo_dataset, out)
    other = BuildConfig(video=VideoSpec(frame_size=56), shards=CONFIG.shards)
    with pytest.raises(UserError, match="frame_size: 48 -> 56"):
        build_shards(demo_clips, out, other, Limits())
    assert tree(out) == tree(demo_dataset)


def test_a_folder_of_something_else_is_left_alone(demo_clips, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        build_shards(demo_clips, tmp_path / "out", CONFIG, Limits())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_shard_that_lost_bytes_is_built_again(demo_clips, demo_dataset, tmp_path):
    out = tmp_path / "demo"
    shutil.copytree(demo_dataset, out)
    shard = sorted(out.glob("shards/*/*/*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-512])
    result = build_shards(demo_clips, out, CONFIG, Limits(), workers=1)
    assert (result.shards_built, result.clips) == (1, 80)
    assert tree(out) == tree(demo_dataset)


def test_a_marker_of_another_shard_vouches_for_nothing(demo_clips, demo_dataset, tmp_path):
    out = tmp_path / "demo"
    shutil.copytree(demo_dataset, out)
    one, other = sorted(out.glob("shards/*/*/*.json"))[:2]
    shutil.copy(one, other)
    assert build_shards(demo_clips, out, CONFIG, Limits()).shards_built == 1
    assert tree(out) == tree(demo_dataset)


def test_a_pipe_posing_as_a_clip_costs_itself(demo_clips, tmp_path):
    clips = read_manifest(demo_clips)[:2]
    slow = tmp_path / "slow.mkv"
    os.mkfifo(slow)  # opening it for reading would wait for ever
    rows = [Clip(c.clip_id, c.label, "train", str(demo_clips.parent / c.video_path)) for c in clips]
    write_manifest(tmp_path / "m.csv", [*rows, Clip("slow", rows[0].label, "train", str(slow))])
    result = build_shards(tmp_path / "m.csv", tmp_path / "out", CONFIG, Limits(deadline_seconds=20), workers=1)
    assert (result.clips, result.failures) == (2, {"missing": 1})


def test_stopping_before_the_first_clip(demo_clips, tmp_path):
    with pytest.raises(Interrupted):
        build_shards(demo_clips, tmp_path / "out", CONFIG, Limits(), workers=1, stopping=lambda: True)
    assert not list((tmp_path / "out").glob("shards/*/*/*"))


def test_a_folder_that_cannot_be_written_is_a_sentence(demo_clips, tmp_path):
    out = tmp_path / "file"
    out.write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        build_shards(demo_clips, out / "below", CONFIG, Limits())


@pytest.mark.slow
def test_partitions_that_start_together_agree_on_the_plan(few, tmp_path):
    (manifest, built), out = few, tmp_path / "out"
    script = "from avprep.cli import main; main()"
    options = [str(manifest), "--out", str(out), "--frame-size", "48", "--clips-per-shard", "4", "--workers", "1"]
    builds = [
        subprocess.Popen(
            [sys.executable, "-c", script, "build-shards", *options, "--partition", f"{part}/4"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for part in range(4)
    ]  # fmt: skip
    for build in builds:
        _, errors = build.communicate(timeout=300)
        assert build.returncode == 0, errors
    finalize(out)
    assert tree(out) == tree(built)


def test_failed_clips_are_tried_again_when_asked(videos, tmp_path):
    clips = [Clip(name, "x", video_path=f"{name}.mp4") for name in ("good", "late")]
    write_manifest(tmp_path / "m.csv", clips)
    shutil.copy(videos / "bbb_h264_aac.mp4", tmp_path / "good.mp4")
    (tmp_path / "late.mp4").touch()
    first = build_shards(tmp_path / "m.csv", tmp_path / "out", CONFIG, Limits())
    assert (first.clips, first.failures) == (1, {"empty": 1})
    shutil.copy(videos / "bbb_h264_aac.mp4", tmp_path / "late.mp4")
    kept = build_shards(tmp_path / "m.csv", tmp_path / "out", CONFIG, Limits())
    assert (kept.clips, kept.shards_built) == (1, 0)
    again = build_shards(tmp_path / "m.csv", tmp_path / "out", CONFIG, Limits(), retry_failed=True)
    assert (again.clips, again.failures) == (2, {})
    assert (tmp_path / "out" / "failures.jsonl").read_bytes() == b""


def test_the_digest_knows_other_bytes_of_the_same_shape(videos, tmp_path):
    write_manifest(tmp_path / "m.csv", [Clip("a", "x", video_path=str(videos / "bbb_h264_aac.mp4"))])
    digests = set()
    for name in ("bicubic", "area"):
        config = BuildConfig(video=VideoSpec(frame_size=48, resize_filter=name))
        build_shards(tmp_path / "m.csv", tmp_path / name, config, Limits())
        digests.add(Dataset(tmp_path / name).digest)
    assert len(digests) == 2


def test_what_a_dying_decoder_had_written_is_cut_away(videos, tmp_path):
    """A clip that fails after it has written half a megabyte leaves no byte of it, wherever it stands in the shard."""
    clips = [Clip(name, "x", video_path=str(videos / "bbb_h264_aac.mp4")) for name in ("a", "dies", "b", "dies-last")]
    job = ShardJob(clips, "/", tmp_path / "out", CONFIG, "digest", Limits())
    planned = PlannedShard("shards/train/0000-x/000000.tar", "train", 0, (0, 1, 2, 3))

    class Dying(Workers):
        def run(self, task):
            if not task.clip.clip_id.startswith("dies"):
                return super().run(task)
            with open(task.tar_path, "r+b") as tar:
                tar.seek(task.tar_offset)
                tar.write(b"x" * 500_000)
            raise ClipError("crash", "on purpose", task.clip.clip_id)

    with Dying(1, Limits()) as workers:
        report = build_shard(planned, job, workers, lambda outcome: None, lambda: False)
    assert (report.clips, len(report.failures)) == (2, 2)
    path = tmp_path / "out" / planned.path
    assert path.stat().st_size == report.bytes
    assert b"x" * 1000 not in path.read_bytes()
    with tarfile.open(path) as tar:
        assert [name.split(".")[0] for name in tar.getnames()] == ["a"] * 3 + ["b"] * 3


@pytest.mark.slow
def test_the_plan_is_written_by_one_process_at_a_time(few, tmp_path):
    (manifest, built), out = few, tmp_path / "out"
    out.mkdir()
    with ThreadPoolExecutor(1) as threads:
        with folder_lock(out, "planning"):
            build = threads.submit(build_shards, manifest, out, CONFIG, Limits(), workers=2)
            time.sleep(2)
            assert not (out / "plan").exists()
        assert build.result().clips == 20
    assert tree(out) == tree(built)


def test_an_index_of_an_older_version_is_named_and_repaired(demo_dataset, tmp_path):
    out = tmp_path / "demo"
    shutil.copytree(demo_dataset, out)
    index = out / "index.parquet"
    pq.write_table(pq.read_table(index).drop_columns(["num_frames"]), index)
    with pytest.raises(UserError, match=r"index.parquet cannot be read \(.*num_frames"):
        Dataset(out)
    finalize(out)
    assert len(Dataset(out)) == 80
