"""The datasets of the GRID benchmark: one of each fold, with columns and pairs of each run that tests it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.datasets.grid_corpus import Sentence, word_times
from avprep.datasets.media_folder import LocalFolder
from avprep.manifest.read_write import Clip, write_manifest
from avprep.shared.errors import UserError
from avtrain.reproduce.grid_corpus.folds import is_of_one_speaker
from avtrain.reproduce.grid_corpus.settings import GridSettings

MARGIN_SECONDS = 0.5  # that a clip cut to a word is longer than the window, so that it fits at several times
CLIPS_PER_SHARD = 100


def are_cut(root: Path, sentences: Sequence[Sentence], settings: GridSettings) -> bool:
    """Whether clips are cut to the word that is their label: by align files, where all clips have one.

    Errors: UserError where only some have.
    """
    missing = [sentence.path for sentence in sentences if not sentence.align]
    if settings.whole_clips or len(missing) == len(sentences):
        return False
    if missing:
        raise UserError(
            f"{len(missing)} of {len(sentences)} clips below {root} have no align file, such as {missing[0]}; add "
            "them, or take windows of whole clips by --whole-clips."
        )
    return True


def prepare_fold(
    folder: Path,
    root: Path,
    sentences: Sequence[Sentence],
    in_test: np.ndarray,
    cut: bool,
    settings: GridSettings,
    workers: int,
    stopping: Callable[[], bool],
) -> Path:
    """The dataset in which the clips of `in_test` bool [N] are of the test split, and the others of train.

    The group of a clip is its speaker, or with one speaker its sentence.
    """
    media, one_speaker = LocalFolder(root, folder), is_of_one_speaker(sentences)
    clips = []
    for sentence, tested in zip(sentences, in_test, strict=True):
        start, end = span_of(root, sentence, settings) if cut else (None, None)
        clips.append(
            Clip(
                clip_id=f"{sentence.speaker}/{sentence.name}" if sentence.speaker else sentence.name,
                label=sentence.words[settings.label],
                split="test" if tested else "train",
                video_path=media.written(sentence.path),
                start_seconds=start,
                end_seconds=end,
                group=sentence.name if one_speaker else sentence.speaker,
            )
        )
    manifest, shards = folder / "manifest.csv", folder / "shards"
    write_manifest(manifest, clips)
    config = BuildConfig(
        video=VideoSpec(frame_size=settings.frame_size), shards=ShardSpec(clips_per_shard=CLIPS_PER_SHARD)
    )
    build_shards(manifest, shards, config, Limits(), workers=workers, stopping=stopping)
    return shards


def span_of(root: Path, sentence: Sentence, settings: GridSettings) -> tuple[float | None, float | None]:
    """(start, end) in seconds: the word in the middle of a window and MARGIN_SECONDS, as far as the clip goes."""
    start, end, last = word_times(root, sentence, settings.label)
    length = settings.window_seconds + MARGIN_SECONDS
    if length >= last:
        return None, None
    begin = min(max(0.0, (start + end - length) / 2), last - length)
    return round(begin, 3), round(begin + length, 3)
