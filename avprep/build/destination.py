"""Where a dataset folder lies: on this machine, or at a URL to which it goes from a temporary folder, shard by shard.

A file is put there whole or not at all, a shard's marker after its data and dataset.json last of all, so that what a
reader there finds marked is whole, and a build that was killed resumes by what is there. Partitions need no lock: they
put the same plan, and each its own shards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep import schema
from avprep.build.shards import PlannedShard, is_done, marked_files
from avprep.errors import UserError
from avprep.shared import store
from avprep.shared.mirror import Mirror, mirrored
from avprep.shared.remote import RemotePath

Retried = Callable[[dict[str, Any]], bool]  # whether a failure of a done-marker is worth another try
PLAN = (schema.PLAN_MANIFEST, schema.PLAN_BUILD)
TABLES = (schema.FAILURES, schema.INDEX, schema.DATASET)


@dataclass(frozen=True)
class Place:
    """A dataset folder on this machine."""

    folder: Path
    url: str = ""
    """where it goes from there, shard by shard; '' where it stays"""

    def begin(self) -> None:
        """Have at hand what is known of the folder. Errors: UserError where it holds no build but other things."""

    def planned(self) -> None:
        """To be called once the plan is written."""

    def lacking(self, shards: Sequence[PlannedShard], digest: str, retried: Retried) -> list[PlannedShard]:
        """Those of some shards that are still to be built, or again."""
        return [shard for shard in shards if not is_done(self.folder, shard, digest, retried)]

    def reported(self, name: str) -> None:
        """To be called once a report is written."""

    def gather(self, shards: Sequence[PlannedShard]) -> None:
        """Have those markers of some shards at hand that are there."""

    def finalized(self) -> None:
        """To be called once the tables are written."""


class Elsewhere(Place):
    """A dataset folder at a URL."""

    @property
    def _mirror(self) -> Mirror:
        return Mirror(RemotePath(self.url), self.folder)

    def begin(self) -> None:
        there = self._mirror.remote.below()
        if schema.PLAN_BUILD in there:
            self._mirror.pull([*PLAN, schema.EXCLUDED])
        elif any(name not in PLAN for name in there):
            raise UserError(f"{self._mirror.remote} is not empty and holds no build; choose another folder.")

    def planned(self) -> None:
        if not (self._mirror.remote / schema.PLAN_BUILD).is_file():
            self._mirror.push(*PLAN)

    def lacking(self, shards: Sequence[PlannedShard], digest: str, retried: Retried) -> list[PlannedShard]:
        sizes = self._gathered(shards)
        return [shard for shard in shards if not is_done(self.folder, shard, digest, retried, sizes.__getitem__)]

    def reported(self, name: str) -> None:
        self._mirror.push(name)

    def gather(self, shards: Sequence[PlannedShard]) -> None:
        self._gathered(shards)

    def _gathered(self, shards: Sequence[PlannedShard]) -> dict[str, int]:
        """Bytes of all files that are there, by name."""
        there = self._mirror.remote.below()
        markers = (schema.marker_path(shard.path) for shard in shards)
        self._mirror.pull_together([name for name in markers if name in there])
        return there

    def finalized(self) -> None:
        index = store.sha256(self.folder / schema.INDEX)
        old = self._mirror.remote / schema.DATASET
        if old.is_file() and store.read_json(old).get("index_sha256") != index:
            old.remove()
        self._mirror.push(*TABLES)


@contextlib.contextmanager
def place_of(out: Path | str) -> Iterator[Place]:
    """The place of a dataset folder, a path or a URL, for as long as it is worked on."""
    if isinstance(out, Path):
        yield Place(out)
        return
    with mirrored(out) as scratch:
        yield Elsewhere(scratch.folder, out)


def publish_shard(folder: Path, url: str, shard: PlannedShard) -> None:
    """Put a finished shard from `folder` to a URL, its marker last; its data are then gone from here."""
    mirror, marker = Mirror(RemotePath(url), folder), schema.marker_path(shard.path)
    data = marked_files(store.read_json(mirror.here(marker)))
    (mirror.remote / marker).remove()  # of a shard that is built anew
    mirror.push(*data, marker)
    for name in data:
        mirror.here(name).unlink()
