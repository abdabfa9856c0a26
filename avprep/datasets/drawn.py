"""The splits that a manifest's command draws: --test-share and --val-share, by group, out of the training clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from avprep.errors import ManifestError
from avprep.manifest.checks import Report, settle
from avprep.manifest.clips import Clip
from avprep.shared.configs import check
from avprep.shared.draw import SPLITS, fractions_of

FLAGS = {"test": "--test-share", "val": "--val-share"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
    """Shares of the training clips that become the test and the val split; `seed` chooses which."""

    test: float = 0.0
    val: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check(
            min(self.test, self.val) >= 0 and self.test + self.val < 1,
            f"--test-share {self.test:g} and --val-share {self.val:g} must be 0 or more, and below 1 together.",
        )


AS_GIVEN = Shares()


def settled(
    clips: Sequence[Clip], report: Report, shares: Shares, *, drop_leaks: bool = False, groups: Sequence[str] = ()
) -> list[Clip]:
    """The clips in their splits, without repeats and unknown splits (checks.settle); findings go to `report`.

    A training clip whose group (default: the manifest's) has a hash below `shares.test` is a test clip, one above 1 -
    `shares.val` a val clip: so no other clip, and not the other share either, moves it. Errors: ManifestError where
    a split to be drawn has clips already.
    """
    wanted = {name: flag for name, flag in FLAGS.items() if getattr(shares, name) > 0}
    for name, flag in wanted.items():
        given = sum(clip.split == name for clip in clips)
        if given:
            raise ManifestError(f"There are {given} {name} clips already; leave {flag} out, or those clips.")
    if wanted and clips:
        number = fractions_of(np.array(groups or [clip.group for clip in clips]), shares.seed, SPLITS)
        side = np.where(number < shares.test, "test", np.where(number >= 1 - shares.val, "val", "train")).tolist()
        clips = [
            dataclasses.replace(clip, split=to) if clip.split == "train" else clip
            for clip, to in zip(clips, side, strict=True)
        ]
    settled_clips = settle(clips, report, drop_leaks)
    if wanted:
        report.classless = _classless(settled_clips, ("train", *wanted))
    return settled_clips


def _classless(clips: Sequence[Clip], splits: Sequence[str]) -> list[str]:
    """`SPLIT: LABEL` for each class that has no clip in one of `splits`."""
    there = {(clip.label, clip.split) for clip in clips}
    labels = sorted({clip.label for clip in clips})
    return [f"{split}: {label}" for split in splits for label in labels if (label, split) not in there]
