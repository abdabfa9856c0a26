"""What all tests share: where real data lies, what a skip must say, a small rendered dataset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 80 rendered clips: 8 classes of 6 for training and 4 for test."""
    from avprep.synthetic.demo import DemoConfig, render_demo

    return render_demo(tmp_path_factory.mktemp("demo") / "clips", DemoConfig(clips_per_class=10), workers=2)


@pytest.fixture(scope="session")
def demo_dataset(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder of demo_clips: 48 px frames, four clips a shard."""
    from avprep.build.run import build_shards
    from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec

    out = tmp_path_factory.mktemp("dataset") / "demo"
    config = BuildConfig(video=VideoSpec(frame_size=48), shards=ShardSpec(clips_per_shard=4))
    build_shards(demo_clips, out, config, Limits(), workers=2)
    return out
