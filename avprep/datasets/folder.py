"""A folder of clips, one sub-folder a class; or train/, val/ and test/ folders that hold such sub-folders."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from avprep.errors import ManifestError
from avprep.manifest import Clip, held_out_by_class, written_path

VIDEO_SUFFIXES = frozenset(f".{name}" for name in "mp4 m4v mov mkv webm avi mpg mpeg ts flv wmv 3gp ogv".split())  # noqa: SIM905
AUDIO_SUFFIXES = frozenset(f".{name}" for name in "wav flac ogg oga opus mp3 m4a aac wma".split())  # noqa: SIM905
SPLITS = ("train", "val", "test")

log = logging.getLogger(__name__)


def clips_of_folder(root: Path, relative_to: Path, test_share: float, seed: int) -> list[Clip]:
    """Manifest rows for every media file below `root`, sorted by path; the class is the sub-folder's name.

    Where the sub-folders of `root` are named train, val and test, they are the splits. Else `test_share` of
    each class, seeded, becomes the test split. Paths are written relative to `relative_to`.
    Errors: ManifestError where `root` has no class folders or no media files.
    """
    if not root.is_dir():
        raise ManifestError(f"{root} is not a folder; give the folder that holds one sub-folder a class.")
    folders = _folders(root)
    has_splits = bool(folders) and {folder.name for folder in folders} <= set(SPLITS)
    places = (
        [(split.name, folder) for split in folders for folder in _folders(split)]
        if has_splits
        else [("train", folder) for folder in folders]
    )
    clips: list[Clip] = []
    others = 0
    for split, folder in places:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            suffix = path.suffix.lower()
            if path.name.startswith(".") or suffix not in VIDEO_SUFFIXES | AUDIO_SUFFIXES:
                others += 1
                continue
            written = written_path(path, relative_to)
            clips.append(
                Clip(
                    clip_id=path.relative_to(root).as_posix(),
                    label=folder.name,
                    split=split,
                    video_path=written if suffix in VIDEO_SUFFIXES else "",
                    audio_path=written if suffix in AUDIO_SUFFIXES else "",
                    group=written,
                )
            )
    if not clips:
        raise ManifestError(f"{root} has no media files in class sub-folders (one sub-folder a class).")
    if others:
        log.warning("%d files below %s have no media suffix and were left out", others, root)
    if has_splits:
        return clips
    chosen = held_out_by_class([clip.label for clip in clips], test_share, seed)
    return [
        dataclasses.replace(clip, split="test" if held else "train") for clip, held in zip(clips, chosen, strict=True)
    ]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
