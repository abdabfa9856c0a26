"""A run at a URL: its files are fetched to a temporary folder when a command begins and put there as they are made.

A checkpoint's meta.json is put after its tensors, and removed before them, so that a checkpoint there is whole. Each
process under torchrun fetches the run for itself; the first writes. Training goes on while a checkpoint is put, from
links and copies that training does not change; the next checkpoint waits for it, so that there is one at most.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from avprep.shared.errors import UserError
from avprep.shared.mirror import Mirror, mirrored
from avtrain.runs import folder as run_folder
from avtrain.runs.checkpoint import META, STEP

CLAIMED = re.compile(rf"(seed-\d+/)?{re.escape(run_folder.CONFIG)}")
LAST = (META, "result.json", run_folder.EXIT)  # each after all else
SNAPSHOT = ".uploading"

log = logging.getLogger(__name__)


@dataclass
class AtHand:
    """A folder of a command: a run, or what comes of an evaluation."""

    folder: Path
    mirror: Mirror | None = None
    status: str | None = None
    """status in exit.json when the command began"""
    known: dict[str, tuple[int, int]] = field(default_factory=dict)
    """bytes and time of change of each file that is the same there"""
    stamp: str | None = None
    """of exit.json there when the command began"""
    _pending: Future[None] | None = field(default=None, repr=False)
    """what `begin_put` began"""

    def shown(self, path: Path) -> str:
        """A path in the folder as the user knows it."""
        return str(path) if self.mirror is None else str(path).replace(str(self.folder), str(self.mirror.remote))

    def put(self) -> None:
        """Have there what is here: new and changed files, and no checkpoint that is gone. Errors: UserError.

        What `begin_put` began is waited for; where that failed, its files are put again.
        """
        if self.mirror is None:
            return
        try:
            self._wait()
        except UserError as error:
            log.warning("%s It is tried once more.", error)
        files = _files(self.folder)
        self._send(files, self._new(files), self.folder)

    def begin_put(self) -> None:
        """Begin a `put` of the files as they are now, and return while it goes on; first wait for the one before.

        Errors: UserError of the one before.
        """
        if self.mirror is None:
            return
        self._wait()
        files = _files(self.folder)
        new, copy = self._new(files), self.folder.with_name(SNAPSHOT)
        try:
            for name in new:
                _keep(self.folder / name, copy / name)
        except OSError as error:
            raise UserError(f"{copy} cannot be written ({error.strerror}); make room or set TMPDIR.") from None

        def send() -> None:
            try:
                self._send(files, new, copy)
            finally:
                shutil.rmtree(copy, ignore_errors=True)

        self._pending = _in_background(send)

    def _wait(self) -> None:
        """Return when nothing is being put any more. Errors: UserError of what was."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _new(self, files: dict[str, tuple[int, int]]) -> list[str]:
        """Names of files that are not the same there, in the order in which they are put."""
        return sorted((name for name in files if self.known.get(name) != files[name]), key=_order)

    def _send(self, files: dict[str, tuple[int, int]], new: list[str], source: Path) -> None:
        """Put the files `new` of `source`, then remove there what is not among `files`."""
        assert self.mirror is not None
        for name in new:
            if name == run_folder.EXIT:
                self.put_exit()
            else:
                (self.mirror.remote / name).put(source / name)
            self.known[name] = files[name]
        for name in sorted(self.known.keys() - files.keys(), key=_order, reverse=True):
            (self.mirror.remote / name).remove()
            del self.known[name]

    def put_exit(self) -> None:
        """Have exit.json there, unless another process has put one since the command began."""
        if self.mirror and (self.folder / run_folder.EXIT).exists() and _stamp(self.mirror) in (None, self.stamp):
            self.mirror.push(run_folder.EXIT)


@contextlib.contextmanager
def at_hand(path: Path | str, rank: int = 0, without: str = "//") -> Iterator[AtHand]:
    """A folder on this machine for a run or an evaluation at a path or URL.

    A path is its own folder. Of a URL, the files there are fetched to a temporary folder, but for those whose names end
    in `without`. When the block ends, also by an error, rank 0 puts new and changed files there and removes those that
    are gone; other ranks put exit.json alone. Errors: UserError where the URL holds anything but a run or evaluation.
    """
    if isinstance(path, Path):
        yield AtHand(path, status=run_folder.exit_status(path))
        return
    with mirrored(path) as mirror:
        there = mirror.remote.below()
        if there.keys() - {run_folder.EXIT} and not any(CLAIMED.fullmatch(name) for name in there):
            raise UserError(f"{mirror.remote} is not empty and holds no run or evaluation; choose another folder.")
        mirror.pull(name for name in there if not name.endswith(without))
        status, stamp = run_folder.exit_status(mirror.folder), _stamp(mirror)
        if rank > 0:  # what an earlier process wrote is for the first to remove
            (mirror.folder / run_folder.EXIT).unlink(missing_ok=True)
        hand = AtHand(mirror.folder, mirror, status, _files(mirror.folder), stamp)
        try:
            yield hand
        finally:
            if rank == 0:
                hand.put()
            else:
                hand.put_exit()


def _in_background(work: Callable[[], None]) -> Future[None]:
    """What comes of `work`, done in a thread that does not keep the process from ending."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="upload", daemon=True).start()
    return future


def _keep(path: Path, copy: Path) -> None:
    """Have a file under another name too as it is now: a link of one of a checkpoint, which is never written again."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    if STEP.fullmatch(path.parent.name):
        with contextlib.suppress(OSError):  # a file system without links
            os.link(path, copy)
            return
    shutil.copyfile(path, copy)


def _stamp(mirror: Mirror) -> str | None:
    """What differs whenever exit.json there has been written anew; None where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return (mirror.remote / run_folder.EXIT).stamp()
    return None


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """(bytes, time of change) of every file below a folder but temporary ones and frozen features, by name."""
    files = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") or part == run_folder.FROZEN for part in name.parts):
            about = path.stat()
            files[name.as_posix()] = about.st_size, about.st_mtime_ns
    return files


def _order(name: str) -> tuple[int, str]:
    """The sort key by which files are put."""
    last = name.rsplit("/", 1)[-1]
    return LAST.index(last) + 1 if last in LAST else 0, name
