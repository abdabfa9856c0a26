"""Decoders that die, hang or eat memory: each costs one clip, told by its reason."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from avprep.build import workers
from avprep.build.tasks import ClipTask
from avprep.build.workers import Workers
from avprep.config import BuildConfig, Limits
from avprep.errors import ClipError
from avprep.manifest.read_write import Clip
from tests.conftest import REPOSITORY
from tests.prep.rendering import pattern, render, tone
from tests.processes import DECODER, processes_below


@pytest.fixture
def tar(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"")
    return path


def task(videos: Path, tar: Path, config: BuildConfig, name: str = "bbb_h264_aac.mp4") -> ClipTask:
    return ClipTask(Clip("a", "x", video_path=name), str(videos), config, Limits(), str(tar), 0)


class _Deadly(BuildConfig):
    """A config whose unpickling in the child does harm: what a hostile file makes a decoder do."""

    def __reduce__(self):
        return self.harm


class Crash(_Deadly):
    harm = (__import__("os").abort, ())


class Hang(_Deadly):
    harm = (__import__("time").sleep, (3600,))


def write_and_sleep(path: str) -> None:
    Path(path).touch()
    time.sleep(3600)


@pytest.mark.slow
def test_a_good_clip_after_a_crash_and_a_hang(videos, tar):
    good = task(videos, tar, BuildConfig())
    with Workers(1, Limits()) as workers:
        for config, reason, seconds in ((Crash(), "crash", 120), (Hang(), "deadline", 1)):
            workers._limits = Limits(deadline_seconds=seconds)
            with pytest.raises(ClipError) as caught:
                workers.run(task(videos, tar, config))
            assert caught.value.reason == reason
            assert caught.value.clip_id == "a"
        workers._limits = Limits()
        assert workers.run(good).index["num_frames"] == 32


def test_retries_are_one_for_a_crash_and_none_for_bad_media(videos, tar, monkeypatch):
    tries = []
    real = Workers._once
    monkeypatch.setattr(Workers, "_once", lambda self, task: tries.append(task) or real(self, task))
    with Workers(1, Limits(deadline_seconds=60)) as workers:
        with pytest.raises(ClipError):
            workers.run(task(videos, tar, Crash()))
        assert len(tries) == 2
        with pytest.raises(ClipError):
            workers.run(task(videos, tar, BuildConfig(), "bbb_noaudio.mp4"))
        assert len(tries) == 3


@pytest.mark.slow
def test_memory_is_bounded(tar, tmp_path):
    """480 frames of 3 MB have no room in a gigabyte."""
    render(tmp_path / "a.mp4", *pattern("64x64", "10", 4), *tone(4))
    with Workers(1, Limits(memory_bytes=1_000_000_000)) as workers:
        big = ClipTask(Clip("a", "x", video_path="a.mp4"), str(tmp_path), _huge(), Limits(), str(tar), 0)
        with pytest.raises(ClipError) as caught:
            workers.run(big)
    assert caught.value.reason == "memory"


def test_what_the_calling_script_has_imported_is_not_the_decoders_memory(videos, tar, tmp_path):
    """A spawned child runs the script's top level too: torch there maps more than the whole limit."""
    script = tmp_path / "script.py"
    script.write_text(
        "import mmap\n"
        "held = mmap.mmap(-1, 4_000_000_000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)\n"
        "from pathlib import Path\n"
        "from avprep.config import BuildConfig, Limits\n"
        "from avprep.build.workers import Workers\n"
        "from tests.prep.test_worker import task\n"
        "if __name__ == '__main__':\n"
        "    with Workers(1, Limits()) as workers:\n"
        f"        done = workers.run(task(Path({str(videos)!r}), Path({str(tar)!r}), BuildConfig()))\n"
        "        print(done.index['num_frames'])\n"
    )
    there = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=there)
    assert (done.stdout, done.returncode) == ("32\n", 0), done.stderr


def _huge() -> BuildConfig:
    from avprep.config import VideoSpec

    return BuildConfig(video=VideoSpec(frame_size=1024, frame_rate_hz=120))


def test_every_reason_that_is_retried_is_a_reason():
    from avprep.errors import REASONS, RETRIED_REASONS

    assert set(REASONS) >= RETRIED_REASONS
    assert workers.CLIPS_PER_PROCESS > 0


def test_children_use_one_thread_each(videos, tar, monkeypatch):
    """numpy's threads are set before its first import there, or two decoders would fight for the cores."""
    for name in workers.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with Workers(1, Limits()) as running:
        running.run(task(videos, tar, BuildConfig()))
        [child] = processes_below(os.getpid(), DECODER)
        assert {child.environ().get(name) for name in workers.THREAD_VARIABLES} == {"1"}
    assert not child.is_running()


@pytest.mark.slow
def test_a_decoder_that_hangs_dies_with_its_parent(videos, tar, tmp_path):
    """The pipe's end cannot wake it: only the death signal can."""
    hangs = tmp_path / "hangs"
    script = (
        "import sys, pathlib; from tests.prep.test_worker import Hang, Workers, Limits, task, write_and_sleep\n"
        "Hang.harm = write_and_sleep, (sys.argv[3],)\n"
        "if __name__ == '__main__':\n"
        "    Workers(1, Limits()).run(task(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), Hang()))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(videos), str(tar), str(hangs)], cwd=REPOSITORY)
    limit = time.monotonic() + 120
    while not hangs.exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
    found = processes_below(parent.pid, DECODER)
    assert len(found) == 1
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(found, timeout=20)
    assert not alive
