"""Folders that look like VGGSound, TAU 2021 and FSDnoisy18k as they are handed out, with real files of a second or two.

Names, places and lists are the real ones, of which most files lack. And the tables' settings in miniature.
"""

from __future__ import annotations

import csv
import dataclasses
import shutil
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from avprep.config import AudioSpec, BuildConfig, ShardSpec, VideoSpec
from avprep.media.render import render_mp4
from avtrain.config import PretrainConfig
from avtrain.reproduce.tables.settings import TABLES, TableSettings, Task
from tests.conftest import REPOSITORY

LISTS = REPOSITORY / "manifests"
CLASSES, TRAINED, TESTED = 4, 6, 3  # of VGGSound: classes, clips of each
SCENES = ("airport", "bus", "tram")
SOUNDS = ("Bass_guitar", "Rain", "Wind")
RATE_HZ = 16_000


@dataclass(frozen=True)
class Roots:
    """The three folders."""

    vggsound: Path
    tau: Path
    fsd: Path

    @property
    def options(self) -> list[str]:
        """Of avtrain reproduce."""
        return ["--vggsound", str(self.vggsound), "--tau", str(self.tau), "--fsd", str(self.fsd)]


def render_roots(folder: Path) -> Roots:
    """The folders, below `folder`."""
    roots = Roots(
        folder / "VGGSound", folder / "TAU-urban-audio-visual-scenes-2021-development", folder / "FSDnoisy18k"
    )
    _render_vggsound(roots.vggsound)
    _render_tau(roots.tau)
    _render_fsd(roots.fsd)
    return roots


def sound(label: int, number: int, seconds: float) -> np.ndarray:
    """float32 [N]: the tone of a class in noise."""
    draw = np.random.default_rng([label, number])
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tone = np.sin(2 * np.pi * 200 * 2.0**label * times + draw.uniform(0, 6))
    return (0.3 * tone + 0.1 * draw.normal(size=len(times))).clip(-1, 1).astype(np.float32)


def write_video(path: Path, label: int, number: int) -> None:
    """An mp4 of 1.2 s in the colour of a class."""
    draw = np.random.default_rng([label, number, 1])
    colour = np.random.default_rng(label).integers(0, 200, 3)
    frames = colour + draw.integers(0, 50, (10, 32, 32, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    render_mp4(path, frames.astype(np.uint8), Fraction(8), sound(label, number, 1.25), RATE_HZ)


def write_wav(path: Path, label: int, number: int, seconds: float) -> None:
    """A wav file of a class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        out.writeframes((sound(label, number, seconds) * 32767).astype("<i2").tobytes())


def write_rows(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as text:
        csv.writer(text, delimiter=delimiter).writerows(rows)


def _render_vggsound(root: Path) -> None:
    """Files under both namings, in folders, of four classes; vggsound.csv with clips that nobody has any more."""
    names = (LISTS / "vggsound_classes.txt").read_text().splitlines()[:CLASSES]
    rows: list[list[object]] = [["gonegonegon", 10, names[0], "train"], ["lostlostlos", 20, names[0], "test"]]
    for split, path, count in (
        ("train", "vggsound_balanced_38007.csv", TRAINED),
        ("test", "vggsound_test.csv", TESTED),
    ):
        with open(LISTS / path, newline="") as text:
            listed = list(csv.DictReader(text))
        for label, name in enumerate(names):
            for number, row in enumerate([row for row in listed if row["label"] == name][:count]):
                start = int(row["start_seconds"])
                plain = f"{row['youtube_id']}_{start:06d}.mp4"
                spans = f"part-{label}/{row['youtube_id']}_{1000 * start}_{1000 * (start + 10)}.mp4"
                write_video(root / "video" / (spans if number % 2 else plain), label, number + 50 * (split == "test"))
                rows.append([row["youtube_id"], start, name, split])
    write_rows(root / "vggsound.csv", rows)


def _render_tau(root: Path) -> None:
    """Segments of two places for training, of one that the paper validates on, of two for test, in each scene."""
    held_out = (LISTS / "tau2021_val_locations_paper.txt").read_text().split()
    lists = {"train": [_listed(f"{location}-1") for location in held_out], "evaluate": []}
    for label, scene in enumerate(SCENES):
        validated = next(location for location in held_out if location.split("-")[0] == scene)
        locations = [
            f"{scene}-{city}-90{number}{label}" for number, city in enumerate(("lyon", "paris", "milan", "prague"))
        ]
        still = root / "video" / f"{locations[0]}-7000.mp4"
        write_video(still, label, 0)
        for number, location in enumerate([*locations, validated] * 2):
            name = f"{location}-{7000 + number // 5}"
            write_wav(root / "audio" / f"{name}.wav", label, number, 2.4)
            if number:
                shutil.copy(still, root / "video" / f"{name}.mp4")
            lists["evaluate" if location in locations[2:] else "train"].append(_listed(name))
    for name, rows in lists.items():
        header = ["filename_audio", "filename_video", "scene_label"]
        write_rows(root / "evaluation_setup" / f"fold1_{name}.csv", [header, *rows], "\t")


def _listed(name: str) -> list[str]:
    return [f"audio/{name}.wav", f"video/{name}.mp4", name.split("-")[0]]


def _render_fsd(root: Path) -> None:
    """Sounds of 0.4 to 2.6 s in three classes; five verified by hand, two not, three for test."""
    header: list[object] = ["fname", "label", "aso_id", "manually_verified", "noisy_small"]
    train, test = [header], [header[:3]]
    for label, name in enumerate(SOUNDS):
        for number in range(10):
            split = "test" if number >= 7 else "train"
            file = f"{1000 * (label + 1) + number}.wav"
            write_wav(root / f"FSDnoisy18k.audio_{split}" / file, label, number, 0.4 + 0.25 * number)
            row: list[object] = [file, name, f"/m/{label}"]
            (test if split == "test" else train).append(row if split == "test" else [*row, int(number < 5), 0])
    write_rows(root / "FSDnoisy18k.meta" / "train.csv", train)
    write_rows(root / "FSDnoisy18k.meta" / "test.csv", test)


def miniature(table: str) -> TableSettings:
    """The published settings of a table but for sizes: tiny models, two epochs, small batches and pictures."""
    batches = {"easy-negative": CLASSES, "hard-negative": TRAINED}
    published = TABLES[table]
    tasks = {name: _small(task) for name, task in published.tasks.items()}
    return dataclasses.replace(
        published,
        rows=tuple(dataclasses.replace(row, batch_size=batches.get(row.name, 8)) for row in published.rows),
        build=BuildConfig(
            video=VideoSpec(frame_size=32), audio=AudioSpec(num_mel_bands=32), shards=ShardSpec(clips_per_shard=8)
        ),
        pretext=PretrainConfig(model_size="tiny", epochs=2, learning_rate=1e-3, checkpoint_every_steps=2, val_every=0),
        pseudo_labels=("--model", "efficientnet-lite0"),
        **tasks,
    )


def _small(task: Task) -> Task:
    of_size = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "model_size": "tiny"}
    return dataclasses.replace(
        task,
        columns=tuple(
            dataclasses.replace(one, evaluate=dataclasses.replace(one.evaluate, **of_size)) for one in task.columns
        ),
        supervised=dataclasses.replace(task.supervised, **of_size),
    )
