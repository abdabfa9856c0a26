"""A folder of clips, one sub-folder a class; or train/, val/ and test/ folders that hold such sub-folders."""

from __future__ import annotations

import dataclasses
import logging
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from avprep.datasets.drawn import Shares, settled
from avprep.datasets.media_folder import MediaFolder, media_folder
from avprep.datasets.split_folders import split_folders
from avprep.errors import ManifestError
from avprep.manifest.checks import Report
from avprep.manifest.read_write import Clip
from avprep.shared.errors import some_of

VIDEO_SUFFIXES = frozenset(f".{name}" for name in "mp4 m4v mov mkv webm avi mpg mpeg ts flv wmv 3gp ogv".split())  # noqa: SIM905
AUDIO_SUFFIXES = frozenset(f".{name}" for name in "wav flac ogg oga opus mp3 m4a aac wma".split())  # noqa: SIM905
TEST_SHARE = 0.2  # where neither folders nor options define a test split

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Folds:
    """Folds by file name: what `pattern`'s first group matches at its start; the fold `test` is the test split."""

    pattern: str
    test: str

    def __post_init__(self) -> None:
        _check_pattern("--fold-pattern", self.pattern)

    def of(self, clip: Clip) -> Clip:
        """The clip in its split, with its fold as group and its former group as cluster, unless it has a cluster."""
        fold = _named("--fold-pattern", self.pattern, clip)
        split = "test" if fold == self.test else "train"
        return dataclasses.replace(clip, split=split, group=fold, cluster=clip.cluster or clip.group)


def with_clusters(clips: list[Clip], pattern: str) -> list[Clip]:
    """The clips with what `pattern`'s group matches at the start of their file's name as cluster.

    Errors: ManifestError.
    """
    _check_pattern("--cluster-pattern", pattern)
    return [dataclasses.replace(clip, cluster=_named("--cluster-pattern", pattern, clip)) for clip in clips]


def _check_pattern(option: str, pattern: str) -> None:
    """ManifestError where a pattern is not a regular expression of one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ManifestError(f"{option} {pattern!r} is no regular expression: {error}.") from None
    if groups != 1:
        raise ManifestError(f"{option} {pattern!r} needs one group in brackets, such as '(\\d)-'.")


def _named(option: str, pattern: str, clip: Clip) -> str:
    """What the pattern's group matches at the start of the name of a clip's file."""
    match = re.match(pattern, Path(clip.source).name)
    if match is None or match[1] is None:
        raise ManifestError(f"{option} {pattern!r} does not fit {clip.clip_id}.")
    return match[1]


def clips_of_folder(
    media: MediaFolder,
    test_share: float | None = None,
    seed: int = 0,
    folds: Folds | None = None,
    val_share: float = 0.0,
    given_splits: Mapping[str, str] | None = None,
) -> tuple[list[Clip], Report]:
    """Manifest rows for every media file of a folder, sorted by path; the class is the sub-folder's name.

    Sub-folders that are splits (by split_folders and `given_splits`) hold those of the classes; others beside them are
    reported. Else one of `folds` is the test split, or about `test_share` of the clips (None: a fifth),
    by the hash of their names below the folder (drawn.settled); `val_share` is drawn alike. Errors: ManifestError where
    the folder has no class folders or no media files, where it is unclear which sub-folders are splits, where `folds`
    do not fit, or a split to be drawn exists already.
    """
    report = Report()
    folders = media.folders()
    splits = split_folders(media, lambda folder: any(map(is_media, media.files(folder))), given_splits)
    has_splits = bool(splits)
    of_classes = (
        [(splits.get(part, part), folder) for part in folders for folder in media.folders(part)]
        if has_splits
        else [("train", folder) for folder in folders]
    )
    clips: list[Clip] = []
    others = 0
    for split, folder in of_classes:
        for name in media.files(folder):
            if not is_media(name):
                others += 1
                continue
            if not media.holds(name):
                report.missing.append(name)
                continue
            suffix, written = posixpath.splitext(name)[1].lower(), media.written(name)
            clips.append(
                Clip(
                    clip_id=name,
                    label=posixpath.basename(folder),
                    split=split,
                    video_path=written if suffix in VIDEO_SUFFIXES else "",
                    audio_path=written if suffix in AUDIO_SUFFIXES else "",
                    group=media.origin(name),
                )
            )
    if not clips:
        raise ManifestError(f"{media} has no media files in class sub-folders (one sub-folder a class).")
    if others:
        log.warning("%d files below %s have no media suffix and were left out", others, media)
    if folds is not None:
        if has_splits:
            raise ManifestError(f"{media} has folders for its splits; leave --fold-pattern out.")
        clips = [folds.of(clip) for clip in clips]
        known = sorted({clip.group for clip in clips})
        if folds.test not in known or len(known) < 2:
            raise ManifestError(f"--test-fold {folds.test!r} is not one of at least two folds; {media} has {known}.")
    given = has_splits or folds is not None
    shares = Shares(
        test=test_share or (0.0 if given or test_share is not None else TEST_SHARE), val=val_share, seed=seed
    )
    groups = [] if folds is not None else _sources(media, clips)
    report.nested = [] if has_splits else _nested(clips)
    report.unnamed = _outside_classes(media, list(splits))
    report.foreign = media.foreign
    return settled(clips, report, shares, groups=groups), report


def is_media(name: str) -> bool:
    """Whether a file has the suffix of a clip, and is not hidden."""
    suffix = posixpath.splitext(name)[1].lower()
    return suffix in VIDEO_SUFFIXES | AUDIO_SUFFIXES and not posixpath.basename(name).startswith(".")


def _sources(media: MediaFolder, clips: list[Clip]) -> list[str]:
    """The file behind each clip by its path below the folder, wherever the manifest may lie."""
    own = media_folder(media.root, media.root)
    return [own.origin(clip.clip_id) for clip in clips]


def _outside_classes(media: MediaFolder, splits: list[str]) -> list[str]:
    """Media files beside the class folders."""
    beside = {"", *splits}
    return [name for name in media.files() if posixpath.dirname(name) in beside and is_media(name)]


def _nested(clips: list[Clip]) -> list[str]:
    """`LABEL (its sub-folders)` of classes with no clip outside sub-folders of theirs, of which they have several."""
    inside: dict[str, set[str]] = {}
    for clip in clips:
        folders = clip.clip_id.split("/")[1:-1]
        inside.setdefault(clip.label, set()).add(folders[0] if folders else "")
    return [
        f"{label} ({some_of(sorted(folders))})"
        for label, folders in inside.items()
        if len(folders) > 1 and "" not in folders
    ]
