"""Which sub-folders of a folder of clips are splits: those with known names; unclear ones are an error."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping

from avprep.datasets.media_folder import MediaFolder
from avprep.errors import ManifestError
from avprep.manifest.checks import SPLIT_SPELLINGS as SPELLINGS
from avprep.shared.errors import some_of

SHOWN = 8
UNCLEAR_ALONE = ("dev", "development")  # beside no training folder they are one


def split_folders(
    media: MediaFolder, holds_clips: Callable[[str], bool], given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The split of each sub-folder that is one, by its name; empty where the sub-folders are classes.

    Splits hold class folders, so that a class may be called train. `given` names the splits besides
    those with known names; all others are then none, and where it is empty all sub-folders are classes. `holds_clips`
    returns whether a folder has clips. Errors: ManifestError where it is unclear, with the options to give.
    """
    folders = media.folders()
    known = {folder: SPELLINGS[folder.casefold()] for folder in folders if folder.casefold() in SPELLINGS}
    if given is not None:
        strange = sorted(given.keys() - set(folders))
        if strange:
            raise ManifestError(f"{media} has no sub-folder {strange[0]!r} for --split-folder; it has {folders}.")
        return {**known, **given} if given else {}
    if not any(_named_like_a_split(folder) and media.folders(folder) for folder in folders):
        if len(known) > 1 and len(known) == len(folders):
            raise ManifestError(
                f"{media} has {_listed(folders, known)}, which hold no class sub-folders; put each clip into a folder "
                "of its class, give --no-split-folders if these are classes, or a table to 'avprep manifest table'."
            )
        _check_below(media, folders)
        return {}
    others = [folder for folder in folders if folder not in known and holds_clips(folder)]
    unclear = [folder for folder in known if folder.casefold() in UNCLEAR_ALONE and "train" not in known.values()]
    twice = [folder for folder in known if list(known.values()).count(known[folder]) > 1]
    if others or unclear or twice:
        raise ManifestError(
            f"{media} has the sub-folders {_listed(sorted([*known, *others]), known)}; which are splits? Give "
            f"--split-folder {(others or unclear or twice)[-1]}=train (or =val, =test) for each whose split is missing "
            "or wrong here, others are then left out; or --no-split-folders if all are classes."
        )
    return known


def _check_below(media: MediaFolder, classes: list[str]) -> None:
    """Raise ManifestError where class folders hold splits: to draw others in silence would mix the given ones."""
    below = [path for folder in classes for path in media.folders(folder)]
    splits = {split: path for path in below if (split := SPELLINGS.get(posixpath.basename(path).casefold()))}
    if len(splits) > 1:
        raise ManifestError(
            f"{media} has splits below its classes, {' and '.join(sorted(splits.values()))}; put them above, as in "
            "train/CLASS, name them in a table for 'avprep manifest table', or give --no-split-folders to draw others."
        )


def _named_like_a_split(folder: str) -> bool:
    return any(word in SPELLINGS for word in re.split(r"[^a-z]+", folder.casefold()))


def _listed(folders: list[str], known: Mapping[str, str]) -> str:
    """Such as "dev (val), extra"."""
    return some_of([f"{folder} ({known[folder]})" if folder in known else folder for folder in folders], SHOWN)
