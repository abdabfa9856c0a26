"""Where a build writes a dataset folder: on this machine, or by way of a temporary folder to a URL, shard by shard.

At a URL a file is written whole or not at all, a shard's marker after its data and dataset.json last, so that a shard
with a marker is whole, and a build that was killed resumes from the markers. Partitions need no lock: they write the
same plan, and each its own shards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep import schema
from avprep.build.settle import settle
from avprep.build.shards import PlannedShard, is_done, marked_files
from avprep.errors import UserError
from avprep.shared import store
from avprep.shared.mirror import Mirror, mirrored
from avprep.shared.remote import RemotePath

DigestOf = Callable[[PlannedShard], str]
Retried = Callable[[dict[str, Any]], bool]  # whether a failure of a done-marker is worth another try
PLAN = (schema.PLAN_MANIFEST, schema.PLAN_BUILD)
TABLES = (schema.FAILURES, schema.INDEX, schema.DATASET)


@dataclass(frozen=True)
class Destination:
    """A dataset folder on this machine."""

    folder: Path
    url: str = ""
    """where its files are copied, shard by shard; '' for a folder that stays on this machine"""

    def begin(self) -> None:
        """Fetch the plan of an earlier build, if any. Errors: UserError where the folder has other files."""
        settle(self.folder)

    def planned(self) -> None:
        """Call this once the plan is written."""

    def unbuilt(self, shards: Sequence[PlannedShard], digest_of: DigestOf, retried: Retried) -> list[PlannedShard]:
        """The shards that are still to be built, or to be built again; `digest_of` is what a shard's marker bears."""
        return [shard for shard in shards if not is_done(self.folder, shard, digest_of(shard), retried)]

    def reported(self, name: str) -> None:
        """Call this once a report is written."""

    def gather(self, shards: Sequence[PlannedShard]) -> None:
        """Fetch the markers of the shards that are built."""

    def finalized(self) -> None:
        """Call this once the tables are written."""


class RemoteDestination(Destination):
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

    def unbuilt(self, shards: Sequence[PlannedShard], digest_of: DigestOf, retried: Retried) -> list[PlannedShard]:
        bytes_of = self._gathered(shards).__getitem__
        return [shard for shard in shards if not is_done(self.folder, shard, digest_of(shard), retried, bytes_of)]

    def reported(self, name: str) -> None:
        self._mirror.push(name)

    def gather(self, shards: Sequence[PlannedShard]) -> None:
        self._gathered(shards)

    def _gathered(self, shards: Sequence[PlannedShard]) -> dict[str, int]:
        """Fetch the markers that exist; returns the bytes of all files there, by name."""
        there = self._mirror.remote.below()
        markers = (schema.marker_path(shard.path) for shard in shards)
        self._mirror.pull_together([name for name in markers if name in there])
        return there

    def finalized(self) -> None:
        index = store.sha256(self.folder / schema.INDEX)
        old = self._mirror.remote / schema.DATASET
        if old.is_file() and store.read_json(old).get("index_sha256") != index:
            old.remove()
        lists = schema.labels_path(schema.MANIFEST_LABELS)
        self._mirror.push(*((lists,) if (self.folder / lists).exists() else ()), *TABLES)


@contextlib.contextmanager
def destination_of(out: Path | str) -> Iterator[Destination]:
    """The destination at a path or URL, while the block runs."""
    if isinstance(out, Path):
        yield Destination(out)
        return
    with mirrored(out) as scratch:
        yield RemoteDestination(scratch.folder, out)


def publish_shard(folder: Path, url: str, shard: PlannedShard) -> None:
    """Copy a finished shard from `folder` to a URL, its marker last, and remove its data here."""
    mirror, marker = Mirror(RemotePath(url), folder), schema.marker_path(shard.path)
    data = marked_files(store.read_json(mirror.here(marker)))
    (mirror.remote / marker).remove()  # of a shard that is built anew
    mirror.push(*data, marker)
    for name in data:
        mirror.here(name).unlink()
