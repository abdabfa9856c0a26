"""avtrain report --watch: the page of runs that go on, written again whenever a run has written something."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.report.gather import RESULT, read_runs
from avtrain.report.kinds import open_datasets
from avtrain.report.watch.page import Shown, watch_page
from avtrain.runs.folder import EXIT, METRICS

UNFINISHED = "unfinished"
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Watched:
    """How watching ended: runs, those of them that have not ended, how often the page was written."""

    runs: int
    unfinished: int
    pages: int


def watch(
    folders: Sequence[Path],
    out: Path,
    *,
    interval_seconds: float,
    datasets: Sequence[Path | str] = (),
    root: Path | None = None,
    title: str = "Pretraining runs",
    stopping: Callable[[], bool] = lambda: False,
    now: Callable[[], datetime] = datetime.now,
    pause: Callable[[float], None] = time.sleep,
) -> Watched:
    """Write the page `out` of run folders, and again where they have changed, until all have ended or `stopping()`.

    The page loads itself again every `interval_seconds`, the last one does not. Errors: UserError as `read_runs`, and
    where none of the folders was trained by `avtrain pretrain`.
    """
    opened = open_datasets(datasets)
    shown: Shown = {}
    last: object = None
    pages = 0
    while True:
        stamp, asked = stamps(folders), stopping()
        if stamp != last or asked:
            read, skipped = read_runs(folders)
            if not any(run.pretrained for run in read):
                raise UserError(f"{folders[0]} is no run of 'avtrain pretrain', so there is nothing to watch.")
            unfinished = sum(run.status == UNFINISHED for run in read)
            ends = asked or not unfinished
            page = watch_page(
                read,
                skipped,
                opened,
                shown=shown,
                root=root,
                title=title,
                now=now(),
                reload_seconds=None if ends else interval_seconds,
            )
            store.write_bytes(out, page.encode())
            last, pages = stamp, pages + 1
            if ends:
                return Watched(len(read), unfinished, pages)
        _wait(interval_seconds, stopping, pause)


def stamps(folders: Sequence[Path]) -> list[tuple[str, int, int]]:
    """What differs whenever a run has logged an update, saved, been measured, ended or been begun anew."""
    files = [
        path
        for folder in folders
        for pattern in (METRICS, EXIT, f"eval/*/{RESULT}", "step_*/meta.json")
        for path in [*folder.glob(pattern), *folder.glob(f"seed-*/{pattern}")]
    ]
    stamped = []
    for path in sorted(files):
        try:
            about = path.stat()
        except OSError:  # removed meanwhile, as old checkpoints are
            continue
        stamped.append((str(path), about.st_size, about.st_mtime_ns))
    return stamped


def _wait(seconds: float, stopping: Callable[[], bool], pause: Callable[[float], None]) -> None:
    for _ in range(max(1, round(seconds / LOOK_SECONDS))):
        if stopping():
            return
        pause(LOOK_SECONDS)
