"""What a card reports of a dataset, read from its tables; no shard is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep import schema
from avprep.build.shards import read_plan
from avprep.dataset import Dataset
from avprep.inspect import inspect


@dataclass(frozen=True)
class Facts:
    """A finished dataset as its card shows it."""

    inspected: dict[str, Any]
    """as `avprep inspect --json` prints it"""
    info: dict[str, Any]
    """dataset.json"""
    build: dict[str, Any]
    """the settings of the build, as in plan/build.json"""
    classes: list[str]
    """names by class id"""
    clips: int
    with_pictures: int
    """clips that have pictures"""
    hours: float
    digest: str
    shards: list[str]
    """those that clips of the index are in"""

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """Counts of each split that has clips, in the order of their names."""
        return {name: split for name, split in sorted(self.inspected["splits"].items()) if split["clips"]}

    @property
    def bytes(self) -> int:
        """Bytes of all shards."""
        return int(self.inspected["shards"]["bytes"])


def facts_of(folder: Path) -> Facts:
    """The facts of a finished dataset folder. Errors: UserError where it is none."""
    dataset = Dataset(folder)
    plan, _ = read_plan(folder / schema.PLAN_BUILD)
    return Facts(
        inspected=inspect(folder),
        info=dataset.info,
        build=plan["config"],
        classes=dataset.class_names,
        clips=len(dataset),
        with_pictures=int((dataset.num_frames > 0).sum()),
        hours=float(dataset.duration_seconds.sum() / 3600),
        digest=dataset.digest,
        shards=sorted(dataset.shards),
    )


def data_files(facts: Facts) -> dict[str, list[str]]:
    """Patterns or paths of the tars of each split.

    Paths only where a tar of the split holds no clip of the index, since readers take the kinds of members from any.
    """
    prefixes = {name: f"shards/{name}/" for name in facts.splits}
    with_clips = set(facts.shards)
    return {
        name: sorted(shard for shard in with_clips if shard.startswith(prefix))
        if any(shard.startswith(prefix) and shard not in with_clips for shard in facts.info["shards"])
        else [f"{prefix}*/*.tar"]
        for name, prefix in prefixes.items()
    }


def described(facts: Facts) -> str:
    """A sentence of the counts, for a dataset that has no description."""
    kinds = {facts.clips: "Audio-visual", 0: "Sound"}.get(facts.with_pictures, "Audio-visual and sound")
    splits = ", ".join(f"{split['clips']:,} {name}" for name, split in facts.splits.items())
    return (
        f"{kinds} clips of {len(facts.classes):,} classes as frames and log-mel spectrograms: {facts.clips:,} clips "
        f"({splits}), {facts.hours:.2f} hours, in class-indexed WebDataset shards."
    )
