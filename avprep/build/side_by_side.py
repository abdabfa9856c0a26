"""The clips of one shard, decoded side by side where decoding processes are free, and written in their order.

The first clip in work writes its members straight into the shard's tar. Where those of a clip ahead of it will begin is
not known yet, so they go to a file beside the tar and are copied when their turn comes. Nothing in a member depends on
its offset, so the bytes of the tar do not depend on how many clips were in work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from avprep.build.members import WRITE_BYTES, ClipRecord, moved
from avprep.build.tasks import ClipTask
from avprep.errors import ClipError, Interrupted

LOOK_SECONDS = 0.2  # after which a shard looks again whether a process is free


class Decoders(Protocol):
    """What decodes clips: build.workers.Workers."""

    def start(self, task: ClipTask) -> Future[ClipRecord]:
        """The record to be of a clip; its error may be a ClipError."""

    def spare(self) -> bool:
        """Whether another clip would be decoded at once."""


@dataclass(frozen=True)
class _InWork:
    file: Path
    """where its members go: the tar, or a file beside it"""
    record: Future[ClipRecord]


def in_order(
    rows: Sequence[int],
    task_of: Callable[[int, Path, int], ClipTask],
    tar: Path,
    decoders: Decoders,
    stopping: Callable[[], bool],
) -> Generator[tuple[int, ClipRecord | ClipError], None, None]:
    """Each of the rows, in order, with its record, whose bytes `tar` then has, or with the error of its clip.

    `task_of` a row, a file and an offset in it is the task that writes its members there.

    One clip is always in work, others only on processes that no other shard waits for. Close the iterator to end it
    early: it waits for what is in work. Errors: Interrupted once `stopping()`, before another clip is started; others
    than ClipError that decoding raises.
    """
    beside = [tar.with_suffix(f".{number}.tmp") for number in range(len(rows))]
    _remove(beside)  # what a kill has left
    todo = iter(zip(rows, beside, strict=True))
    work: dict[int, _InWork] = {}
    end = 0
    try:
        while True:
            row, first = next(iter(work.items()), (-1, None))
            if first is not None and first.record.done():
                outcome = _taken(first, tar, end)
                del work[row]
                end = end if isinstance(outcome, ClipError) else outcome.end_offset
                yield row, outcome
            elif (first is None or decoders.spare()) and (following := next(todo, None)):
                if stopping():
                    raise Interrupted("the shard in work was discarded; the same command resumes the build")
                row, ahead = following
                file, offset = (tar, end) if first is None else (ahead, 0)
                if first is not None:
                    ahead.touch()
                work[row] = _InWork(file, decoders.start(task_of(row, file, offset)))
            elif first is None:
                return
            else:
                wait([one.record for one in work.values() if not one.record.done()], LOOK_SECONDS, FIRST_COMPLETED)
    finally:
        wait([one.record for one in work.values()])
        _remove(beside)


def _taken(clip: _InWork, tar: Path, end: int) -> ClipRecord | ClipError:
    """The outcome of a clip that is done with; its members, or none, now are in the tar behind byte `end`."""
    try:
        record = clip.record.result()
    except ClipError as error:
        with open(tar, "r+b") as file:
            file.truncate(end)
        return error
    if clip.file == tar:
        return record
    with open(clip.file, "r+b") as source, open(tar, "r+b") as target:
        source.truncate(record.end_offset)
        target.seek(end)
        shutil.copyfileobj(source, target, WRITE_BYTES)
    clip.file.unlink()
    return moved(record, end)


def _remove(files: list[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
