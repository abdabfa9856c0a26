"""What all tests share: where real data lies, what a skip must say, one thread a process, a small rendered dataset."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's, of commands too: workers, ranks and decoders run side by side
settings.register_profile("any-machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any-machine")

REPOSITORY = Path(__file__).resolve().parent.parent
FIXTURES = REPOSITORY / "tests" / "fixtures"
SLOW_SECONDS = 2
"""processor time, of the processes that a test starts too, from which on it has the mark `slow`"""
GARBAGE = 20_000
"""objects made and not lost after which garbage is looked for; Python's usual 700 take a second of the imports"""
LONGEST = (
    "tests/cluster/test_slurm.py",
    "tests/train/test_reproduce_digits.py",
    "tests/train/test_tables.py",
    "tests/cluster/test_hosts.py",
    "tests/prep/test_decoders.py",
    "tests/prep/test_assembly.py",
    "tests/cluster/test_ray.py",
    "tests/train/test_torchrun.py",
    "tests/train/test_distributed.py",
    "tests/gpu/test_toy.py",
    "tests/cluster/test_s3.py",
    "tests/train/test_demo.py",
    "tests/docs/test_tutorial.py",
    "tests/prep/test_build.py",
    "tests/train/test_real.py",
    "tests/train/test_reproduce_grid.py",
    "tests/prep/test_kills.py",
    "tests/prep/test_lists.py",
    "tests/train/test_golden.py",
    "tests/cluster/test_s3_ranks.py",
    "tests/prep/test_worker.py",
    "tests/prep/test_scale.py",
    "tests/known_issues/test_signals.py",
    "tests/train/test_tables_planned.py",
    "tests/docs/test_notebooks.py",
    "tests/cluster/test_s3_kills.py",
)
"""The files that take longest; those that wait for others between those that compute."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out files in the order below, not by their numbers of tests; look for garbage seldom."""
    config.option.loadscopereorder = False
    gc.set_threshold(GARBAGE, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that no worker has one before it when the others are done."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_flushing() -> Generator[None, None, None]:
    """Files of this process are not forced to the disk: that is for a loss of power, which no test makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Note the processor time of a test."""
    before = sum(os.times()[:4])
    try:
        return (yield)
    finally:
        item.user_properties.append(("cpu_seconds", sum(os.times()[:4]) - before))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that are slow and not marked so."""
    for report in (report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)):
        seconds = dict(report.user_properties).get("cpu_seconds", 0)
        if report.when == "call" and seconds > SLOW_SECONDS and "slow" not in report.keywords:
            terminalreporter.line(f"slow without the mark: {report.nodeid}, {seconds:.1f} s of processor time")


def data_root() -> Path:
    """Where real recordings lie: AVDATA_ROOT, or shared/data beside the repository."""
    return Path(os.environ.get("AVDATA_ROOT", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; the test is skipped where it is absent."""
    root = data_root()
    if not (root / "grid.csv").exists():
        pytest.skip(f"no real recordings at {root}; set AVDATA_ROOT")
    return root


@pytest.fixture(scope="session")
def videos() -> Path:
    """Small real video files, odd ones among them."""
    return FIXTURES / "video"


@pytest.fixture(scope="session")
def sounds() -> Path:
    """Small real sound files."""
    return FIXTURES / "audio"


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills once in a session, whichever worker of pytest-xdist comes first: write nothing there.

    `make` is called again on what it left where it failed.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has a folder of its own below that of the session
    folder, done = base / f"shared-{name}", base / f"shared-{name}.done"
    with open(base / f"shared-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 80 rendered clips: 8 classes of 6 for training and 4 for test."""
    from avprep.synthetic.demo import DemoConfig, render_demo

    config = DemoConfig(clips_per_class=10)
    folder = made_once(tmp_path_factory, "clips", lambda folder: render_demo(folder, config, workers=2))
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def demo_clips_without_cue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 40 rendered clips, five of each class, whose pictures have nothing of their own sound."""
    from avprep.synthetic.demo import DemoConfig, render_demo

    config = DemoConfig(clips_per_class=5, instance_cue=0.0)
    folder = made_once(tmp_path_factory, "clips-without-cue", lambda folder: render_demo(folder, config, workers=2))
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def demo_dataset(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder of demo_clips: 48 px frames, four clips a shard."""
    from avprep.build.run import build_shards
    from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec

    config = BuildConfig(video=VideoSpec(frame_size=48), shards=ShardSpec(clips_per_shard=4))
    return made_once(
        tmp_path_factory, "demo", lambda folder: build_shards(demo_clips, folder, config, Limits(), workers=2)
    )


@pytest.fixture(scope="session")
def exported_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset `pets`, the run `soft` on it, and `encoder`, exported from that."""
    from tests.train.exporting import make_exported

    return made_once(tmp_path_factory, "exported", make_exported)
