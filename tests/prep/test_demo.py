"""The rendered demo: seeded, resumable, as varied as it says, with a cue that does what its number says."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from avprep.errors import UserError
from avprep.manifest.read_write import read_manifest
from avprep.synthetic.demo import CLASSES, DemoConfig, render_demo
from avprep.synthetic.pictures import SHAPES, coverage
from avprep.synthetic.sounds import TIMBRES, melody, note
from tests.prep.rendering import brightness_with_loudness


def test_the_same_seed_renders_the_same_bytes(demo_clips, tmp_path):
    config = DemoConfig(clips_per_class=10)
    first = Path(shutil.copytree(demo_clips.parent, tmp_path / "a"))
    kept = first / "clips" / "buzz-square" / "0001.mp4"
    bytes_before = kept.read_bytes()
    kept.unlink()
    time_before = (first / "clips" / "buzz-square" / "0002.mp4").stat().st_mtime_ns
    render_demo(first, config, workers=1)
    assert kept.read_bytes() == bytes_before
    assert (first / "clips" / "buzz-square" / "0002.mp4").stat().st_mtime_ns == time_before
    with pytest.raises(UserError, match="seed: 0 -> 4"):
        render_demo(first, dataclasses.replace(config, seed=4), workers=1)


def test_the_manifest_is_balanced_and_split(demo_clips):
    clips = read_manifest(demo_clips)
    labels = [clip.label for clip in clips]
    assert len(set(labels)) == len(CLASSES) >= 8
    assert {labels.count(label) for label in labels} == {10}
    assert all(sum(c.split == "test" for c in clips if c.label == label) == 4 for label in labels)
    assert all((demo_clips.parent / clip.video_path).stat().st_size > 0 for clip in clips)


def test_sizes_and_rates_vary(demo_clips):
    import av

    seen = set()
    for path in sorted(demo_clips.parent.glob("clips/*/000*.mp4"))[:40]:
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec.name, audio.codec.canonical_name) == ("h264", "aac")
            assert 1.9 < container.duration / 1e6 < 4.2
            seen.add((video.width, video.height, video.average_rate, audio.rate))
    assert min(len({entry[k] for entry in seen}) for k in range(4)) >= 3


def loudness_match(clips: list[Path]) -> float:
    """Mean correlation between the pictures' brightness and the sound's loudness."""
    return float(np.mean(brightness_with_loudness(clips)))


@pytest.mark.slow
def test_the_instance_cue_is_there_at_one_and_gone_at_zero(demo_clips, demo_clips_without_cue):
    """Half of the first clips of every class are decoded."""
    folder = demo_clips_without_cue.parent
    without = sorted(folder.glob("clips/*/*.mp4"))[::2]
    assert abs(loudness_match(without)) < 0.15
    assert loudness_match([demo_clips.parent / path.relative_to(folder) for path in without]) > 0.35


def test_every_shape_and_timbre_is_its_own():
    grid = np.linspace(-1, 1, 41)
    pictures = [coverage(shape, *np.meshgrid(grid, grid)) for shape in SHAPES]
    assert len({picture.tobytes() for picture in pictures}) == len(SHAPES) == len(TIMBRES)
    time = np.arange(8000) / 16_000
    notes = [note(timbre, time, 440.0, 0.5, np.random.default_rng(0)) for timbre in TIMBRES]
    assert len({n.tobytes() for n in notes}) == len(TIMBRES)
    assert all(np.isfinite(n).all() and np.abs(n).max() > 0 for n in notes)


def test_melodies_lie_inside_their_clip():
    for seed in range(50):
        tune = melody(np.random.default_rng(seed), 2.5)
        assert (np.diff(tune.onsets) >= 0).all()
        assert tune.onsets.min() >= 0
        assert tune.onsets.max() <= 2.5
        assert (tune.loudness(np.linspace(0, 2.5, 100)) <= 1).all()
