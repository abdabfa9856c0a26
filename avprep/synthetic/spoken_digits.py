"""Recordings of spoken digits as two public corpora hand them out: which there are, whose they are, their samples."""

from __future__ import annotations

import re
import wave
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avprep.datasets.media_folder import LocalFolder, by_name
from avprep.errors import UserError

DIGITS = "0123456789"
RECORDING = re.compile(r"(\d)_(\w+)_(\d+)\.wav")

Recordings = dict[tuple[str, str], list[Path]]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Whose recordings there are: wav files DIGIT_SPEAKER_NUMBER.wav, at any depth."""

    title: str
    address: str
    folds: tuple[tuple[str, ...], ...]
    """the test speakers of each fold; all together are all speakers"""
    validating: int
    """speakers outside the fold that validate"""


FOLDS = (("george", "lucas"), ("jackson", "nicolas"), ("theo", "yweweler"))
AUDIOMNIST_FOLDS = 6
CORPORA: Mapping[str, Corpus] = {
    "fsdd": Corpus(
        title="Free Spoken Digit Dataset",
        address="https://github.com/Jakobovski/free-spoken-digit-dataset",
        folds=FOLDS,
        validating=1,
    ),
    "audiomnist": Corpus(
        title="AudioMNIST dataset, speakers 01 to 60",
        address="https://github.com/soerenab/AudioMNIST",
        folds=tuple(
            tuple(f"{speaker:02d}" for speaker in range(1 + fold, 61, AUDIOMNIST_FOLDS))
            for fold in range(AUDIOMNIST_FOLDS)
        ),
        validating=10,
    ),
}


def recordings_below(root: Path, corpus: Corpus = CORPORA["fsdd"]) -> Recordings:
    """(digit, speaker) -> its recordings DIGIT_SPEAKER_NUMBER.wav below `root`, by number.

    Errors: UserError where one of the digits of one of the corpus's speakers has none.
    """
    recordings: dict[tuple[str, str], list[tuple[int, Path]]] = defaultdict(list)
    for name, inside in by_name(LocalFolder(root, root)).items():
        match = RECORDING.fullmatch(name)
        if match:
            recordings[match[1], match[2]].append((int(match[3]), root / inside))
    for digit in DIGITS:
        for speaker in (speaker for fold in corpus.folds for speaker in fold):
            if (digit, speaker) not in recordings:
                raise UserError(
                    f"{root} has no recording {digit}_{speaker}_*.wav; give the folder of the {corpus.title}, from "
                    f"{corpus.address}"
                )
    return {key: [path for _, path in sorted(paths)] for key, paths in recordings.items()}


def read_recording(path: Path) -> tuple[np.ndarray, int]:
    """(mono samples float32 [N] in [-1, 1], samples a second) of a 16-bit wav file. Errors: UserError."""
    try:
        with wave.open(str(path)) as sound:
            if (sound.getnchannels(), sound.getsampwidth()) != (1, 2):
                raise wave.Error("not mono of 16 bit")
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
            return samples.astype(np.float32) / 32768, sound.getframerate()
    except (wave.Error, EOFError, OSError) as error:
        raise UserError(f"{path} is not readable as a wav file ({error}); fetch the recordings again.") from None
