"""Datasets: built, joined, checked, inspected, shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from avprep import inspect as inspect_module
from avprep.build import run
from avprep.build.finalize import Totals
from avprep.build.finalize import finalize as finalize_folder
from avprep.build.run import BuildResult
from avprep.config import BuildConfig, Limits, build_config
from avprep.preview import content
from avprep.preview.content import Preview
from avprep.shared.urls import path_or_url
from avprep.verify import dataset as verify_module
from avprep.verify.dataset import Findings
from avprep.verify.sources import Sources

AnyPath = Path | str


def build_shards(
    manifest: AnyPath,
    out: AnyPath,
    *,
    root: AnyPath | None = None,
    config: BuildConfig | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    partition: tuple[int, int] = (0, 1),
    executor: str = "local",
    address: str | None = None,
    max_consecutive_failures: int = 50,
    retry_failed: bool = False,
    allow_local_paths: bool = False,
    quality: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> BuildResult:
    """Build a dataset from a manifest; the same call resumes.

    Decoders run in spawned processes, so a script calls this below `if __name__ == "__main__":`.

    Args:
        manifest: The manifest, a file or a URL.
        out: Dataset folder to write, or a URL.
        root: Folder or URL where relative paths of the manifest start; None: the manifest's folder.
        config: All settings that decide the dataset's bytes.
        limits: What one clip may cost before it fails; None: the defaults of `Limits`.
        workers: Decoding processes; None: all cores.
        partition: (I, N): build part I of N. `finalize` joins the parts.
        executor: `local` or `ray`.
        address: Address of a running Ray cluster; None: one is started.
        max_consecutive_failures: Failures in a row that end the build; 0: no limit.
        retry_failed: Build those shards again in which clips failed.
        allow_local_paths: A manifest at a URL may name any file of this machine.
        quality: Measure clips while they are decoded, and write quality.parquet.
        stopping: Called between clips; once it returns True, the build stops and can be resumed.
        **settings: In place of `config`: fields of `VideoSpec`, `AudioSpec`, `ShardSpec` and `decoder` by their own
            names, such as `frame_size=64`, and `logmel_preset`, one of `paper`, `text-16k`, `released-code`.

    Raises:
        UserError: The manifest has mistakes, another build is in `out`, the disk is full, or no clip is good.
        Interrupted: `stopping` returned True.
    """
    if config is not None and settings:
        raise TypeError(f"Give config or settings, not both: {', '.join(settings)}.")
    return run.build_shards(
        path_or_url(manifest),
        path_or_url(out),
        config or build_config(**settings),
        limits or Limits(),
        root=None if root is None else path_or_url(root),
        workers=workers or run.default_workers(),
        executor=executor,
        address=address,
        max_consecutive_failures=max_consecutive_failures,
        partition=partition,
        retry_failed=retry_failed,
        allow_local_paths=allow_local_paths,
        quality=quality,
        stopping=stopping,
    )


def finalize(dataset: AnyPath) -> Totals:
    """Join the partitions of a build at a folder or URL: write its index, failures and dataset.json.

    Raises:
        UserError: A planned shard is missing, or no clip is good.
    """
    return finalize_folder(path_or_url(dataset))


def verify_dataset(
    dataset: AnyPath,
    *,
    workers: int | None = None,
    decode: bool = False,
    root: AnyPath = ".",
    decode_per_shard: int = 1,
) -> Findings:
    """Check every byte of a dataset folder; `problems` of the result is empty where all is as it was built.

    Args:
        dataset: The folder.
        workers: Threads that read; None: all cores.
        decode: Also decode some clips of each shard again and compare the bytes.
        root: Folder where relative paths of the manifest start, for `decode`.
        decode_per_shard: Clips of each shard, for `decode`.

    Raises:
        UserError: The folder is not a finished dataset.
    """
    sources = Sources(Path(root), decode_per_shard) if decode else None
    return verify_module.verify(Path(dataset), workers or run.default_workers(), sources)


def inspect_dataset(dataset: AnyPath) -> dict[str, Any]:
    """What a dataset folder or an unfinished build holds, as `avprep inspect --json` prints it; no shard is read.

    Raises:
        UserError: The folder holds neither.
    """
    return inspect_module.inspect(Path(dataset))


def write_preview(
    dataset: AnyPath,
    out: AnyPath,
    *,
    per_class: int | None = None,
    split: str | None = None,
    root: AnyPath | None = None,
    seed: int = 0,
) -> Preview:
    """Write a self-contained HTML page with a few clips of each class to look at and play.

    Args:
        dataset: The dataset folder.
        out: The page, FILE.html.
        per_class: Clips of each class; None: up to 4, fewer of many classes.
        split: Show clips of this split only; None: of all.
        root: Folder where relative source paths start; needed to play the clips.
        seed: Seed of the choice of clips.

    Raises:
        UserError: The dataset or a source cannot be read.
    """
    where = None if root is None else Path(root)
    return content.write_preview(Path(dataset), Path(out), per_class=per_class, split=split, root=where, seed=seed)
