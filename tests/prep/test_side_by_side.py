"""Clips of one shard that are decoded side by side: whichever is done first, the shard has the same bytes."""

from __future__ import annotations

import shutil
import tarfile
import threading
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avprep.build.members import write_clip
from avprep.build.run import build_shards
from avprep.build.shards import PlannedShard, ShardJob, build_shard
from avprep.config import BuildConfig, Limits, VideoSpec
from avprep.errors import ClipError, Interrupted, UserError
from avprep.manifest.read_write import Clip, write_manifest

CONFIG = BuildConfig(video=VideoSpec(frame_size=16))
CLIPS = [Clip(f"c{number}", "x", audio_path=f"{number}.wav") for number in range(6)]
PLANNED = PlannedShard("shards/train/0000-x/000000.tar", "train", 0, range(6))


class Drawn:
    """Decoders that write drawn clips of different lengths, each shard's latest clip first; some fail.

    `free` clips may be in work at once. A clip that fails has written something before. With `late` all are done a
    little after they were started.
    """

    def __init__(
        self, free: int, failing: tuple[str, ...] = (), error: BaseException | None = None, late: bool = False
    ) -> None:
        self.free, self.failing, self.error, self.late = free, failing, error, late
        self.lock = threading.Lock()
        self.work: list[tuple[object, Future]] = []
        self.files: list[Path] = []

    def start(self, task):
        future: Future = Future()
        self.work.append((task, future))
        self.files.append(Path(task.tar_path))
        if self.late:
            threading.Timer(0.1, self.finish).start()
        elif len(self.work) >= self.free or task.clip.clip_id == "c5":
            self.finish()
        return future

    def spare(self):
        return len(self.work) < self.free

    def finish(self):
        with self.lock:
            self._finish()

    def _finish(self):
        while self.work:
            task, future = self.work.pop()
            if task.clip.clip_id in self.failing:
                with open(task.tar_path, "r+b") as file:
                    file.seek(task.tar_offset)
                    file.write(b"x" * 500_000)
                future.set_exception(self.error or ClipError("crash", "on purpose", task.clip.clip_id))
                continue
            number = int(task.clip.clip_id[1:])
            draw = np.random.default_rng(number)
            decoded = SimpleNamespace(
                frames=draw.integers(0, 255, (number + 2, 16, 16, 3), np.uint8),
                logmel=draw.random((10 * number + 5, 128)).astype(np.float16),
                span=SimpleNamespace(start=Fraction(0), end=Fraction(1), duration=Fraction(1)),
                av_offset_seconds=0.0,
                decoder="pyav",
            )
            future.set_result(write_clip(task.clip, decoded, CONFIG.video, task.tar_path, task.tar_offset))


def built(folder: Path, decoders: Drawn) -> dict[str, bytes]:
    """The files of a shard of CLIPS; the order in which its clips are reported is checked."""
    order = []
    job = ShardJob(CLIPS, "/", folder, CONFIG, "digest", Limits())
    build_shard(PLANNED, job, decoders, lambda outcome: order.append(outcome.clip_id), lambda: False)
    assert order == [clip.clip_id for clip in CLIPS]
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("failing", [(), ("c0",), ("c1", "c2", "c5"), tuple(clip.clip_id for clip in CLIPS)])
def test_the_bytes_do_not_depend_on_what_is_done_first(failing, tmp_path):
    one = built(tmp_path / "1", Drawn(1, failing))
    assert sorted(one) == ["000000.json", "000000.tar"], "and nothing stays beside them"
    for free in (2, 4, 99):
        decoders = Drawn(free, failing)
        assert built(tmp_path / str(free), decoders) == one
        assert len(set(decoders.files)) > 1, "no clip was ahead of another"
    with tarfile.open(tmp_path / "1" / PLANNED.path) as tar:
        names = [name.partition(".")[0] for name in tar.getnames()]
    assert list(dict.fromkeys(names)) == [clip.clip_id for clip in CLIPS if clip.clip_id not in failing]


def test_one_free_process_writes_into_the_shard_itself(tmp_path):
    """No byte is copied where no clip is ahead of another."""
    decoders = Drawn(1)
    built(tmp_path, decoders)
    assert {path.name for path in decoders.files} == {".000000.tar.tmp"}


def test_what_a_kill_has_left_beside_a_shard_goes_with_the_next_build(tmp_path):
    folder = tmp_path / PLANNED.path
    folder.parent.mkdir(parents=True)
    (folder.parent / ".000000.tar.4.tmp").write_bytes(b"left" * 1_000_000)
    one = built(tmp_path, Drawn(3))
    assert sorted(one) == ["000000.json", "000000.tar"]
    assert one == built(tmp_path / "again", Drawn(1))


def test_an_error_that_ends_the_shard_waits_for_the_clips_in_work(tmp_path):
    """They write into files that are about to go."""
    decoders = Drawn(3, ("c1",), UserError("the disk is full"), late=True)
    job = ShardJob(CLIPS, "/", tmp_path, CONFIG, "digest", Limits())
    with pytest.raises(UserError, match="full"):
        build_shard(PLANNED, job, decoders, lambda outcome: None, lambda: False)
    assert not decoders.work
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_shard_that_is_asked_to_stop_waits_too_and_leaves_nothing(tmp_path):
    asked = iter([False, False, False, True])
    job = ShardJob(CLIPS, "/", tmp_path, CONFIG, "digest", Limits())
    decoders = Drawn(2, late=True)
    with pytest.raises(Interrupted):
        build_shard(PLANNED, job, decoders, lambda outcome: None, lambda: next(asked))
    assert len(decoders.files) == 3
    assert not decoders.work
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_real_clips_side_by_side(videos, tmp_path):
    """One class, several clips, one of them broken: two workers make the bytes of one."""
    names = ["bbb_h264_aac.mp4", "bbb_noaudio.mp4", "bbb_h264_aac.mp4", "bbb_truncated.mp4", "bbb_h264_aac.mp4"]
    for number, name in enumerate(names):
        shutil.copy(videos / name, tmp_path / f"{number}.mp4")
    clips = [Clip(f"c{number}", "x", video_path=f"{number}.mp4") for number in range(len(names))]
    write_manifest(tmp_path / "m.csv", clips)
    shards = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        build_shards(tmp_path / "m.csv", out, CONFIG, Limits(), workers=workers)
        shards.append({path.name: path.read_bytes() for path in (out / "shards").rglob("*") if path.is_file()})
    assert shards[0] == shards[1]
    assert b'"no-audio"' in shards[0]["000000.json"]
