"""Clips decoded again from their sources, and compared byte for byte with what their shard holds."""

from __future__ import annotations

import dataclasses
import json
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from avprep import schema
from avprep.build.fetch import holds
from avprep.build.parts import parts_of
from avprep.build.tasks import ClipTask
from avprep.build.threads import map_local
from avprep.build.versions import versions
from avprep.build.workers import Workers
from avprep.config import Limits, config_of
from avprep.errors import ClipError, UserError
from avprep.manifest.addresses import path_here
from avprep.manifest.clips import Clip, Clips
from avprep.shared import configs, names
from avprep.shared.commands import Progress
from avprep.shared.urls import split_address
from avprep.verify.shard import ShardCheck
from avprep.verify.tar import Context

LIMIT_REASONS = frozenset({"too-large", "too-long", "deadline", "memory"})  # the build may have had other limits


@dataclass(frozen=True)
class Sources:
    """Where relative paths of the manifest start, and how many clips of a shard are decoded again."""

    root: Path
    clips_per_shard: int = 1

    def has(self, clip: Clip) -> bool:
        """Whether all files of a clip are there."""
        return all(self._has(path) for path in (clip.video_path, clip.audio_path) if path)

    def _has(self, path: str) -> bool:
        kind, member, _ = split_address(path)
        here = path_here(str(self.root), path)
        return holds(here, kind, member) if kind else here.is_file()

    def must_find(self, clips: Clips) -> None:
        """Errors: UserError where not one clip has its source."""
        if not any(self.has(clip) for clip in clips):
            raise UserError(
                f"Not one source file is below {self.root}; give the folder where relative paths start with --root."
            )


@dataclass(frozen=True)
class Chosen:
    """A clip to decode again: its shard, its row in the manifest, where its members begin in the tar."""

    shard: str
    row: int
    start: int


def check_sources(
    folder: Path, sources: Sources, context: Context, todo: list[Chosen], absent: int, workers: int, quiet: bool
) -> tuple[list[str], list[str]]:
    """(problems, notes) of the clips `todo`, decoded in `workers` processes; `absent` others have no source.

    Each by the decoder that its KEY.json names, with the options of the build.

    Where other library versions are installed than built the shards, other bytes are a note.
    """
    config = config_of(context.plan["config"])
    used = [part.plan["versions"] for part in parts_of(context.plan, ())]
    other = list(dict.fromkeys(line for one in used for line in configs.differences(one, versions())))
    problems: list[str] = []
    notes: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="avprep-") as scratch,
        Workers(workers, Limits()) as pool,
        Progress(len(todo), "clips", "decode", quiet) as progress,
    ):

        def again(one: Chosen) -> None:
            clip = context.clips[one.row]
            copy = Path(scratch) / schema.clip_key(clip.clip_id)
            copy.touch()
            try:
                same = dataclasses.replace(
                    config, decoder=_decoder(names.inside(folder, one.shard), one.start, copy.name)
                )
                task = ClipTask(clip, str(sources.root.absolute()), same, Limits(), str(copy), 0)
                pool.run(task)
                if not _same(copy, names.inside(folder, one.shard), one.start):
                    words = f"{one.shard}: {clip.clip_id} decodes to other bytes now"
                    (notes if other else problems).append(words)
            except ClipError as error:
                words = f"{one.shard}: {clip.clip_id} can no longer be decoded ({error.reason}: {error.detail})"
                (notes if error.reason in LIMIT_REASONS else problems).append(words)
            finally:
                copy.unlink()

        for _ in map_local(again, todo, workers):
            progress.advance()
    notes.insert(0, f"{len(todo)} clips decoded again; the sources of {absent} are not below {sources.root}")
    if other:
        notes.insert(1, f"built with other versions, so that bytes may differ: {', '.join(other)}")
    return sorted(problems), notes


def choose(sources: Sources, context: Context, check: ShardCheck) -> tuple[list[Chosen], int]:
    """(clips to decode again, spread evenly over a sound shard, number of its clips whose source is absent)."""
    entries = check.marker["clips"] if check.marker is not None else []
    there = [position for position, entry in enumerate(entries) if sources.has(context.clips[entry["row"]])]
    count = min(sources.clips_per_shard, len(there))
    positions = (there[(2 * number + 1) * len(there) // (2 * count)] for number in range(count))
    chosen = [Chosen(check.path, entries[position]["row"], check.starts[position]) for position in positions]
    return chosen, len(entries) - len(there)


def _decoder(shard: Path, start: int, key: str) -> str:
    """The decoder that a clip's KEY.json names, in a sound shard where its members begin at `start`."""
    with open(shard, "rb") as file:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.name == key + schema.META_SUFFIX:
                    return str(json.load(cast(IO[bytes], tar.extractfile(member)))["decoder"])
    raise ValueError(f"{shard} has no {key}{schema.META_SUFFIX}")


def _same(copy: Path, shard: Path, start: int) -> bool:
    data = copy.read_bytes()
    with open(shard, "rb", buffering=0) as tar:
        return os.pread(tar.fileno(), len(data), start) == data
