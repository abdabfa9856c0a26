"""What a machine gives, for the doctors of both packages: packages, memory, limits, disks, each as one finding."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TEST_BYTES = 64_000_000
TEST_BLOCK_BYTES = 4_000_000


@dataclass(frozen=True)
class Finding:
    """One line; `fine` where it is as it should be, `needed` where the package cannot work without it."""

    text: str
    fine: bool = True
    needed: bool = False


def is_unusable(findings: Sequence[Finding]) -> bool:
    """Whether anything that is needed is missing or wrong."""
    return any(finding.needed and not finding.fine for finding in findings)


def as_lines(findings: Sequence[Finding]) -> str:
    """A line for each, after `ok`, `absent`, or `MISSING` where it is needed."""
    marks = ("ok" if one.fine else "MISSING" if one.needed else "absent" for one in findings)
    return "\n".join(f"{mark:<8}{one.text}" for mark, one in zip(marks, findings, strict=True))


def package(name: str, needed: bool) -> Finding:
    """The version of an installed package."""
    try:
        return Finding(f"{name} {version(name)}", needed=needed)
    except PackageNotFoundError:
        return Finding(f"{name} is not installed", fine=False, needed=needed)


def computer() -> list[Finding]:
    """Cores, memory, open files."""
    return [
        Finding(f"cores: {len(os.sched_getaffinity(0))} of {os.cpu_count()} may be used"),
        Finding(f"memory: {_memory()}"),
        Finding(f"open files: at most {limit(resource.RLIMIT_NOFILE)}"),
    ]


def limit(kind: int) -> str:
    """The limit of this process that is in force, in words."""
    soft = resource.getrlimit(kind)[0]
    return "no limit" if soft == resource.RLIM_INFINITY else str(soft)


def _memory() -> str:
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    text = f"{total / 1e9:.1f} GB, {free / 1e9:.1f} GB of them unused"
    with contextlib.suppress(OSError, ValueError):
        text += f"; this group of processes may take {int(Path('/sys/fs/cgroup/memory.max').read_bytes()) / 1e9:.1f} GB"
    return text


def shared_memory(folder: Path = Path("/dev/shm"), least_bytes: int = 0) -> Finding:
    """How large it is; not fine where it is smaller than `least_bytes`."""
    if not folder.is_dir():
        return Finding(f"shared memory: no {folder} here", fine=False)
    usage = shutil.disk_usage(folder)
    text = f"shared memory: {usage.total / 1e9:.2f} GB, {usage.free / 1e9:.2f} GB free"
    if usage.total < least_bytes:
        return Finding(f"{text}; it should be {least_bytes / 1e9:.0f} GB", fine=False)
    return Finding(text)


def disks(folders: Sequence[Path] = ()) -> list[Finding]:
    """Free space and speed of `folders`, or of that for temporary files and the present one. Takes a second each."""
    chosen = folders or (Path(tempfile.gettempdir()), Path.cwd())
    return [_disk(folder) for folder in sorted({folder.resolve() for folder in chosen})]


def _disk(folder: Path) -> Finding:
    """Writes a nameless file, flushed to disk, and reads it back past the page cache; leaves nothing."""
    try:
        free = shutil.disk_usage(folder).free
        block = os.urandom(TEST_BLOCK_BYTES)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            begin = time.perf_counter()
            for _ in range(TEST_BYTES // TEST_BLOCK_BYTES):
                file.write(block)
            os.fsync(file.fileno())
            written = time.perf_counter() - begin
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            begin = time.perf_counter()
            while file.read(TEST_BLOCK_BYTES):
                pass
            read = time.perf_counter() - begin
    except OSError as error:
        return Finding(f"disk {folder} cannot be written to ({error.strerror})", fine=False, needed=True)
    speed = f"writes {TEST_BYTES / written / 1e6:.0f} MB/s, reads {TEST_BYTES / read / 1e6:.0f} MB/s"
    return Finding(f"disk {folder}: {free / 1e9:.0f} GB free, {speed}")
