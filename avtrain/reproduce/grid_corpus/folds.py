"""Which clips are the test of each fold: those of whole speakers, or with one speaker whole sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avprep.datasets.grid_corpus import Sentence
from avprep.shared.errors import UserError

SPEAKERS, SENTENCES = 0x64D1, 0x64D2  # streams of random numbers; never change them
FEWEST_SPEAKERS = 2  # that train: one of them chooses the epoch


def is_of_one_speaker(sentences: Sequence[Sentence]) -> bool:
    """Whether the clips are split by sentence, not by speaker."""
    return len({sentence.speaker for sentence in sentences}) == 1


def folds_of(sentences: Sequence[Sentence], label: str, folds: int) -> np.ndarray:
    """int64 [N]: the fold of each clip, the same in every run.

    Speakers are dealt to the folds in random order; with one speaker, the sentences of each class are, so that every
    fold has nearly as many of each. A name is a sentence and each is there once, so that none is in two folds.
    Errors: UserError where speakers, or the clips of a class, are too few.
    """
    if is_of_one_speaker(sentences):
        return _by_sentence(sentences, label, folds)
    speakers = sorted({sentence.speaker for sentence in sentences})
    tested = -(-len(speakers) // folds)
    if len(speakers) <= FEWEST_SPEAKERS:
        raise UserError(
            f"The clips are of {len(speakers)} speakers, too few to train on two of them and test another; give the "
            "folder of one speaker, whose sentences are split, or of three and more."
        )
    if folds > len(speakers) or len(speakers) - tested < FEWEST_SPEAKERS:
        raise UserError(
            f"{len(speakers)} speakers cannot be split into {folds} folds with {FEWEST_SPEAKERS} speakers to train on "
            f"beside each; choose --folds between 3 and {len(speakers)}."
        )
    order = np.random.default_rng([SPEAKERS]).permutation(len(speakers))
    fold = {speakers[speaker]: place % folds for place, speaker in enumerate(order)}
    return np.array([fold[sentence.speaker] for sentence in sentences], np.int64)


def _by_sentence(sentences: Sequence[Sentence], label: str, folds: int) -> np.ndarray:
    draw = np.random.default_rng([SENTENCES])
    labels = np.array([sentence.words[label] for sentence in sentences])
    names = np.array([sentence.name for sentence in sentences])
    fold, dealt = np.empty(len(sentences), np.int64), 0
    for one in np.unique(labels):
        clips = np.flatnonzero(labels == one)
        if len(clips) < 2 * folds:
            raise UserError(
                f"Only {len(clips)} clips have the {label} {str(one)!r}, too few for {folds} folds with two "
                "each; choose fewer --folds or another --label, or give more clips."
            )
        clips = draw.permutation(clips[np.argsort(names[clips])])
        fold[clips] = (dealt + np.arange(len(clips))) % folds
        dealt += len(clips)
    return fold
