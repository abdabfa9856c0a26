"""A folder of clips, one sub-folder a class; or train/, val/ and test/ folders that hold such sub-folders."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

from avprep.datasets.tables import walk
from avprep.errors import ManifestError
from avprep.findings import Report, settle
from avprep.manifest import Clip, held_out_by_class, written_path

VIDEO_SUFFIXES = frozenset(f".{name}" for name in "mp4 m4v mov mkv webm avi mpg mpeg ts flv wmv 3gp ogv".split())  # noqa: SIM905
AUDIO_SUFFIXES = frozenset(f".{name}" for name in "wav flac ogg oga opus mp3 m4a aac wma".split())  # noqa: SIM905
SPLITS = ("train", "val", "test")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Folds:
    """Folds that file names tell: what `pattern`'s first group matches at a name's start; one of them is the test."""

    pattern: str
    test: str

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ManifestError(f"--fold-pattern {self.pattern!r} is no regular expression: {error}.") from None
        if groups != 1:
            raise ManifestError(f"--fold-pattern {self.pattern!r} needs one group in brackets, such as '(\\d)-'.")

    def of(self, clip: Clip) -> Clip:
        """The clip with its fold as group, in its split."""
        match = re.match(self.pattern, Path(clip.source).name)
        if match is None or match[1] is None:
            raise ManifestError(f"--fold-pattern {self.pattern!r} does not fit {clip.clip_id}.")
        return dataclasses.replace(clip, split="test" if match[1] == self.test else "train", group=match[1])


def clips_of_folder(
    root: Path, relative_to: Path, test_share: float, seed: int, folds: Folds | None = None
) -> tuple[list[Clip], Report]:
    """Manifest rows for every media file below `root`, sorted by path; the class is the sub-folder's name.

    Where two or more sub-folders of `root` are named train, val or test, these are the splits, and other folders
    beside them are reported. Else one of `folds` is the test split, or `test_share` of each class, seeded. Paths are
    written relative to `relative_to`. Errors: ManifestError where `root` has no class folders or no media files, or
    where `folds` do not fit.
    """
    if not root.is_dir():
        raise ManifestError(f"{root} is not a folder; give the folder that holds one sub-folder a class.")
    report = Report()
    folders = _folders(root)
    splits = [folder for folder in folders if folder.name in SPLITS]
    has_splits = bool(splits) and (len(splits) > 1 or len(splits) == len(folders))
    places = (
        [(split.name, folder) for split in folders for folder in _folders(split)]
        if has_splits
        else [("train", folder) for folder in folders]
    )
    clips: list[Clip] = []
    others = 0
    for split, folder in places:
        for path in map(Path, walk(folder)):
            suffix = path.suffix.lower()
            if path.name.startswith(".") or suffix not in VIDEO_SUFFIXES | AUDIO_SUFFIXES:
                others += 1
                continue
            clip_id = path.relative_to(root).as_posix()
            if not path.is_file():
                report.missing.append(clip_id)
                continue
            written = written_path(path, relative_to)
            clips.append(
                Clip(
                    clip_id=clip_id,
                    label=folder.name,
                    split=split,
                    video_path=written if suffix in VIDEO_SUFFIXES else "",
                    audio_path=written if suffix in AUDIO_SUFFIXES else "",
                    group=written_path(path.resolve(), relative_to) if path.is_symlink() else written,
                )
            )
    if not clips:
        raise ManifestError(f"{root} has no media files in class sub-folders (one sub-folder a class).")
    if others:
        log.warning("%d files below %s have no media suffix and were left out", others, root)
    if folds is not None:
        if has_splits:
            raise ManifestError(f"{root} has folders for its splits; leave --fold-pattern out.")
        clips = [folds.of(clip) for clip in clips]
        known = sorted({clip.group for clip in clips})
        if folds.test not in known or len(known) < 2:
            raise ManifestError(f"--test-fold {folds.test!r} is not one of at least two folds; {root} has {known}.")
    elif not has_splits:
        chosen = held_out_by_class([clip.label for clip in clips], test_share, seed)
        clips = [
            dataclasses.replace(clip, split="test" if held else "train")
            for clip, held in zip(clips, chosen, strict=True)
        ]
    return settle(clips, report, drop_leaks=False), report


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
