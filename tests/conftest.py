"""What all tests share: where real data lies, what a skip must say, one thread a process, a small rendered dataset."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's, of commands too: workers, ranks and decoders run side by side
settings.register_profile("any-machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any-machine")

REPOSITORY = Path(__file__).resolve().parent.parent
FIXTURES = REPOSITORY / "tests" / "fixtures"


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
def demo_dataset(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder of demo_clips: 48 px frames, four clips a shard."""
    from avprep.build.run import build_shards
    from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec

    config = BuildConfig(video=VideoSpec(frame_size=48), shards=ShardSpec(clips_per_shard=4))
    return made_once(
        tmp_path_factory, "demo", lambda folder: build_shards(demo_clips, folder, config, Limits(), workers=2)
    )
