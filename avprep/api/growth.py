"""Datasets that grow."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from pathlib import Path

from avprep.build import append as append_module
from avprep.build import merge as merge_module
from avprep.build.commit import Appended
from avprep.build.execute import Execution
from avprep.build.merge import Merged
from avprep.build.run import default_workers
from avprep.config import Limits
from avprep.shared.urls import path_or_url

AnyPath = Path | str


def append(
    dataset: AnyPath,
    manifest: AnyPath,
    *,
    root: AnyPath | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    max_consecutive_failures: int = 50,
    retry_failed: bool = False,
    allow_local_paths: bool = False,
    date: datetime.date | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Appended:
    """Add the clips of a manifest that a finished dataset does not have, as new shards; the same call resumes.

    Decoders run in spawned processes, so a script calls this below `if __name__ == "__main__":`.

    Args:
        dataset: The dataset folder. Its options hold for the new clips.
        manifest: The manifest, a file or a URL. Rows that the dataset has already are skipped.
        root: Folder or URL where relative paths of the manifest start; None: the manifest's folder.
        limits: What one clip may cost before it fails; None: the defaults of `Limits`.
        workers: Decoding processes; None: all cores.
        executor: `local` or `ray`.
        address: Address of a running Ray cluster; None: one is started.
        max_consecutive_failures: Failures in a row that end the append; 0: no limit.
        retry_failed: Build those new shards again in which clips failed.
        allow_local_paths: A manifest at a URL may name any file of this machine.
        date: Recorded in history.jsonl; None: today.
        stopping: Called between clips; once it returns True, the append stops and can be resumed.

    Raises:
        UserError: The manifest has mistakes or other rows for clips of the dataset, or no new clip is good.
        Interrupted: `stopping` returned True.
    """
    return append_module.append(
        path_or_url(dataset),
        path_or_url(manifest),
        limits or Limits(),
        date=(date or datetime.date.today()).isoformat(),
        root=None if root is None else path_or_url(root),
        how=Execution(
            workers=workers or default_workers(),
            executor=executor,
            address=address,
            max_consecutive_failures=max_consecutive_failures,
        ),
        retry_failed=retry_failed,
        allow_local_paths=allow_local_paths,
        stopping=stopping,
    )


def merge(
    datasets: Iterable[AnyPath], out: AnyPath, *, link: bool = False, date: datetime.date | None = None
) -> Merged:
    """Make one dataset of two or more of the same features, without decoding; the same call resumes.

    Args:
        datasets: The dataset folders; no clip id may be in two of them.
        out: Dataset folder to write.
        link: Hard links to their shards in place of copies.
        date: Recorded in history.jsonl; None: today.

    Raises:
        UserError: Features differ, a clip id is in two datasets, a shard is damaged, or `out` holds anything else.
    """
    day = (date or datetime.date.today()).isoformat()
    return merge_module.merge([path_or_url(one) for one in datasets], path_or_url(out), date=day, link=link)
