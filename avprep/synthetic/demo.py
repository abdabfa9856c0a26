"""avprep demo: a synthetic labelled set of real mp4 files, a fair miniature of audio-visual learning.

A class is a shape (in the picture) and a timbre (of the sound). All else varies freely inside a class: pitch, tempo,
loudness, the colour and level of the noise; colour, size, path, tilt, scene, grain. In one clip picture and sound share
their instance: the shape lights up while a note sounds (onsets, tempo, length, strength), the higher the note the
smaller the shape, and the scene's hue and brightness go with the colour and the level of the noise. That lets an exact
pair be matched without knowing the class. `instance_cue` mixes it, from 1 (all shared) to 0 (as many flashes and as
varied sizes and scenes, but of a melody and a noise that are not in the sound).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from avprep.manifest.read_write import Clip, write_manifest
from avprep.media.render import render_mp4
from avprep.shared import configs
from avprep.shared.commands import Progress
from avprep.shared.processes import map_processes
from avprep.synthetic import pictures, sounds

CLASSES = tuple(zip(sounds.TIMBRES, pictures.SHAPES, strict=True))
FRAME_RATES_HZ = (Fraction(15), Fraction(20), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30))
FRAME_SIZES = ((64, 64), (80, 60), (96, 72), (72, 96), (96, 96), (112, 64))
SAMPLE_RATES_HZ = (22_050, 32_000, 44_100, 48_000)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What to render."""

    clips_per_class: int = 52
    test_share: float = 0.4
    instance_cue: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        configs.check(self.clips_per_class >= 5, "clips_per_class must be 5 or more.")
        configs.check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
        configs.check(0 <= self.instance_cue <= 1, "instance_cue must be 0 to 1.")

    @property
    def num_clips(self) -> int:
        return self.clips_per_class * len(CLASSES)

    @property
    def num_training_clips(self) -> int:
        return self.num_clips - round(self.clips_per_class * self.test_share) * len(CLASSES)


@dataclass(frozen=True)
class _Order:
    path: Path
    class_id: int
    number: int
    config: DemoConfig


def render_demo(out: Path, config: DemoConfig, workers: int, stopping: Callable[[], bool] = lambda: False) -> Path:
    """Render the clips into `out` and write out/manifest.csv, whose path is returned. Files already there are kept.

    Errors: UserError where `out` holds a demo of other settings; Interrupted once `stopping()`.
    """
    configs.claim(out / "demo.json", configs.to_dict(config), "demo")
    tests = round(config.clips_per_class * config.test_share)
    clips, orders = [], []
    for class_id, (timbre, shape) in enumerate(CLASSES):
        for number in range(config.clips_per_class):
            name = f"clips/{timbre}-{shape}/{number:04d}.mp4"
            split = "test" if number < tests else "train"
            clips.append(Clip(name.removeprefix("clips/"), f"{timbre} {shape}", split, video_path=name, group=name))
            orders.append(_Order(out / name, class_id, number, config))
    return finish(out, clips, _render, orders, workers, stopping)


class HasPath(Protocol):
    """An order for one clip, to be rendered under `path`."""

    @property
    def path(self) -> Path: ...


Order = TypeVar("Order", bound=HasPath)


def finish(
    out: Path,
    clips: list[Clip],
    render: Callable[[Order], None],
    orders: list[Order],
    workers: int,
    stopping: Callable[[], bool],
) -> Path:
    """Render the orders whose files are not there yet, write out/manifest.csv of all clips and return its path."""
    orders = [order for order in orders if not order.path.exists()]
    with Progress(len(orders), "clips", "render") as progress:
        for _ in map_processes(render, orders, workers, stopping):
            progress.advance()
    write_manifest(out / "manifest.csv", clips)
    return out / "manifest.csv"


def _render(order: _Order) -> None:
    draw = np.random.default_rng([order.config.seed, order.class_id, order.number])
    seconds = float(draw.uniform(2.0, 4.0))
    melody, other = sounds.melody(draw, seconds), sounds.melody(draw, seconds)
    scene, other_scene = draw.uniform(size=2), draw.uniform(size=2)
    cue = order.config.instance_cue
    rate = FRAME_RATES_HZ[draw.integers(len(FRAME_RATES_HZ))]
    width, height = FRAME_SIZES[draw.integers(len(FRAME_SIZES))]
    times = np.arange(int(seconds * rate)) / float(rate)
    flash = cue * melody.loudness(times) + (1 - cue) * other.loudness(times)
    size = 1 - (cue * melody.pitch(times) + (1 - cue) * other.pitch(times))
    drawn_scene = cue * scene + (1 - cue) * other_scene
    frames = pictures.draw_clip(pictures.SHAPES[order.class_id], times, flash, size, drawn_scene, height, width, draw)
    sample_rate = SAMPLE_RATES_HZ[draw.integers(len(SAMPLE_RATES_HZ))]
    samples = sounds.synthesise(sounds.TIMBRES[order.class_id], melody, scene, seconds, sample_rate, draw)
    render_mp4(order.path, frames, rate, samples, sample_rate)
