"""av-digits: spoken digits paired by class with handwritten ones, a small real audio-visual benchmark.

Sounds: the Free Spoken Digit Dataset, 10 digits of 6 speakers, 50 recordings each; or AudioMNIST, of 60 speakers.
Pictures: scikit-learn's handwritten digits, 8x8, drawn large on a moving path over texture. Each recording and each
image is in one clip alone. Test clips are of two speakers (of AudioMNIST: ten) who are nowhere else, validation clips
of one (ten) of the others.

A clip is its recording at a random time in digital silence: a quarter of a second of it at least on either side,
1.25 s in all at least, whole sixteenths of a second. So a second of sound fits at more than one time, and a recording
of up to 0.75 s (97 % are) is inside whole. Each is scaled to a peak of one half: the speakers' levels differ by a
factor of ten, as their microphones do, and the log-mel's floor would give them away in every silent band.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avprep.errors import UserError
from avprep.manifest.read_write import Clip
from avprep.media.render import render_mp4
from avprep.shared import configs
from avprep.synthetic import pictures
from avprep.synthetic.demo import finish
from avprep.synthetic.spoken_digits import CORPORA, DIGITS, Corpus, Recordings, read_recording, recordings_below

LINKS = ("envelope", "none")
FRAME_RATE_HZ = 16
MARGIN_SECONDS = 0.25
LEAST_SECONDS = 1.25
PEAK = 0.5
PAIRS, RENDERING = 0xD161, 0xF111  # streams of random numbers; never change them


@dataclass(frozen=True, kw_only=True)
class DigitsConfig:
    """What to render: `clips_per_class` for training, as many for test, half as many for validation."""

    clips_per_class: int = 40
    fold: int = 0
    link: str = "envelope"
    """what the digit's brightness follows: the recording's loudness, or nothing (it is steady)"""
    frame_size: int = 64
    seed: int = 0
    """chooses the speakers for validation, the recordings, images and pairs, and all that is drawn at random"""
    corpus: str = "fsdd"
    """of the recordings: `fsdd`, the Free Spoken Digit Dataset, or `audiomnist`"""

    def __post_init__(self) -> None:
        configs.check(self.clips_per_class >= 2, "clips_per_class must be 2 or more.")
        configs.check(self.corpus in CORPORA, f"corpus must be one of {', '.join(CORPORA)}, not {self.corpus!r}.")
        folds = len(self.spoken.folds)
        configs.check(0 <= self.fold < folds, f"fold must be 0 to {folds - 1}, not {self.fold}.")
        configs.check(self.link in LINKS, f"link must be one of {', '.join(LINKS)}, not {self.link!r}.")
        configs.check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
        configs.check(
            48 <= self.frame_size <= 64 and self.frame_size % 2 == 0,
            f"frame_size must be even and 48 to 64, not {self.frame_size}.",
        )

    @property
    def spoken(self) -> Corpus:
        """Whose recordings there are."""
        return CORPORA[self.corpus]

    @property
    def on_record(self) -> dict[str, Any]:
        """What demo.json has; without the corpus where it is FSDD, as ever since there was no other."""
        values = configs.to_dict(self)
        return values if self.corpus != "fsdd" else {name: value for name, value in values.items() if name != "corpus"}

    @property
    def counts(self) -> dict[str, int]:
        """Clips of a class in each split."""
        return {"train": self.clips_per_class, "val": self.clips_per_class // 2, "test": self.clips_per_class}


@dataclass(frozen=True)
class Pair:
    """One clip to be: whose recording, from which file, with which of scikit-learn's images."""

    split: str
    digit: str
    speaker: str
    recording: Path
    image: int

    @property
    def clip_id(self) -> str:
        """Such as 3_theo_17_image0412."""
        return f"{self.recording.stem}_image{self.image:04d}"


@dataclass(frozen=True)
class _Order:
    path: Path
    pair: Pair
    number: int
    image: np.ndarray
    config: DigitsConfig


def render_digits(
    out: Path, root: Path, config: DigitsConfig, workers: int, stopping: Callable[[], bool] = lambda: False
) -> Path:
    """Render the clips into `out` and write out/manifest.csv (group: the speaker), whose path is returned.

    `root`: a folder with the corpus's wav files, at any depth. Files already rendered are kept. Errors: UserError where
    recordings are missing or `out` holds a demo of other settings; Interrupted once `stopping()`.
    """
    from sklearn.datasets import load_digits

    handwritten = load_digits()
    pairs = pair_up(config, recordings_below(root, config.spoken), handwritten.target)
    configs.claim(out / "demo.json", {"kind": "av-digits", **config.on_record}, "demo")
    clips, orders = [], []
    for number, pair in enumerate(pairs):
        name = f"clips/{pair.split}/{pair.digit}/{pair.clip_id}.mp4"
        clips.append(Clip(pair.clip_id, pair.digit, pair.split, video_path=name, group=pair.speaker))
        orders.append(_Order(out / name, pair, number, handwritten.images[pair.image] / 16, config))
    return finish(out, clips, _render, orders, workers, stopping)


def pair_up(config: DigitsConfig, recordings: Recordings, targets: np.ndarray) -> list[Pair]:
    """The pairs, class by class; `targets` int [N] is the digit of each image.

    A split's clips of a class are divided among its speakers as evenly as their number allows. The choice does not
    depend on link and frame size. Errors: UserError where recordings or images are too few.
    """
    draw = np.random.default_rng([config.seed, config.fold, PAIRS])
    tested = config.spoken.folds[config.fold]
    others = [speaker for fold in config.spoken.folds if fold != tested for speaker in fold]
    held_out = _held_out(others, config.spoken.validating, draw)
    speakers_of = {
        "train": [speaker for speaker in others if speaker not in held_out],
        "val": held_out,
        "test": list(tested),
    }
    pairs = []
    for digit in DIGITS:
        images = iter(draw.permutation(np.flatnonzero(targets == int(digit))).tolist())
        for split, count in config.counts.items():
            speakers = draw.permutation(speakers_of[split]).tolist()
            for number, speaker in enumerate(speakers):
                share = (count + number) // len(speakers)
                its = recordings[digit, speaker]
                order = draw.permutation(len(its))[:share]
                chosen = [Pair(split, digit, speaker, its[k], i) for k, i in zip(order, images, strict=False)]
                if len(chosen) < share:
                    raise UserError(
                        f"{config.clips_per_class} clips a class are too many for the recordings by {speaker} or the "
                        f"images of a {digit}; choose fewer."
                    )
                pairs += chosen
    return pairs


def _held_out(others: list[str], number: int, draw: np.random.Generator) -> list[str]:
    """The speakers who validate; one is drawn as when there was only one, so that clips of FSDD stay what they were."""
    if number == 1:
        return [others[draw.integers(len(others))]]
    return list(draw.choice(others, number, replace=False).tolist())


def _render(order: _Order) -> None:
    config = order.config
    draw = np.random.default_rng([config.seed, config.fold, RENDERING, order.number])
    spoken, rate = read_recording(order.pair.recording)
    spoken_seconds = len(spoken) / rate
    num_frames = math.ceil(max(LEAST_SECONDS, spoken_seconds + 2 * MARGIN_SECONDS) * FRAME_RATE_HZ)
    seconds = num_frames / FRAME_RATE_HZ
    samples = np.zeros(round(seconds * rate), np.float32)
    first = round(draw.uniform(MARGIN_SECONDS, seconds - MARGIN_SECONDS - spoken_seconds) * rate)
    samples[first : first + len(spoken)] = spoken * (PEAK / max(np.abs(spoken).max(), 1e-9))
    steady = np.full(num_frames, draw.uniform())
    level = loudness(samples, num_frames) if config.link == "envelope" else steady
    times = np.arange(num_frames) / FRAME_RATE_HZ
    frames = pictures.draw_digit(order.image, times, level, config.frame_size, draw)
    render_mp4(order.path, frames, Fraction(FRAME_RATE_HZ), samples, rate)


def loudness(samples: np.ndarray, num_frames: int) -> np.ndarray:
    """Square root of the root mean square of the samples while each frame is shown, [num_frames]; 1 in the loudest."""
    rms = np.array([np.sqrt(np.mean(np.square(part))) for part in np.array_split(samples, num_frames)])
    return np.sqrt(rms / max(rms.max(), 1e-12))
