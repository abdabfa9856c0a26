"""avprep doctor: what is installed and what this machine gives, each as one finding."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from avprep.config import Limits
from avprep.media.versions import CODECS, Decoder, probe_decord, probe_ffmpeg, probe_librosa, probe_pyav
from avprep.shared import __version__

NEEDED_PACKAGES = ("click", "numpy", "pyarrow", "tqdm", "ffmpeg-python", "jinja2")
OTHER_PACKAGES = ("fsspec", "ray", "s3fs", "gcsfs", "torch", "torchvision", "webdataset")
NEEDED_CODECS = frozenset({"h264", "aac"})
TEST_BYTES = 64_000_000
TEST_BLOCK_BYTES = 4_000_000


@dataclass(frozen=True)
class Finding:
    """One line: whether it is as it should be, and whether avprep cannot work without."""

    text: str
    fine: bool = True
    needed: bool = False


def examine() -> list[Finding]:
    """All findings: versions, decoders, processor, memory and limits, disks. Takes a few seconds."""
    return [
        Finding(f"avprep {__version__}, Python {platform.python_version()}, {platform.platform()}"),
        *(_decoder(found, needed) for found, needed in _decoders()),
        *(_package(name, needed=True) for name in NEEDED_PACKAGES),
        *(_package(name, needed=False) for name in OTHER_PACKAGES),
        Finding(f"cores: {len(os.sched_getaffinity(0))} of {os.cpu_count()} may be used"),
        Finding(f"memory: {_memory()}"),
        _address_space(),
        Finding(f"open files: at most {_limit(resource.RLIMIT_NOFILE)}"),
        *(_disk(folder) for folder in sorted({Path(tempfile.gettempdir()).resolve(), Path.cwd()})),
        _shared_memory(Path("/dev/shm")),
    ]


def _decoders() -> Iterator[tuple[Decoder, bool]]:
    yield probe_pyav(), True
    yield probe_ffmpeg(), True
    yield probe_decord(), False
    yield probe_librosa(), True


def _decoder(found: Decoder, needed: bool) -> Finding:
    if found.error:
        return Finding(f"{found.name} does not load: {found.error}", fine=False, needed=needed)
    if not found.codecs:
        return Finding(f"{found.name} {found.version}")
    lacking = [codec for codec in CODECS if codec not in found.codecs]
    without = f", not {', '.join(lacking)}" if lacking else ""
    return Finding(
        f"{found.name} {found.version} decodes {', '.join(found.codecs)}{without}",
        fine=set(found.codecs) >= NEEDED_CODECS,
        needed=needed,
    )


def _package(name: str, needed: bool) -> Finding:
    try:
        return Finding(f"{name} {version(name)}", needed=needed)
    except PackageNotFoundError:
        return Finding(f"{name} is not installed", fine=False, needed=needed)


def _memory() -> str:
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    text = f"{total / 1e9:.1f} GB, {free / 1e9:.1f} GB of them unused"
    with contextlib.suppress(OSError, ValueError):
        text += f"; this group of processes may take {int(Path('/sys/fs/cgroup/memory.max').read_text()) / 1e9:.1f} GB"
    return text


def _limit(kind: int) -> str:
    soft = resource.getrlimit(kind)[0]
    return "no limit" if soft == resource.RLIM_INFINITY else str(soft)


def _address_space() -> Finding:
    """A decoding process sets this limit for itself and must be allowed to."""
    wanted, hard = Limits().memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]
    fine = hard == resource.RLIM_INFINITY or hard >= wanted
    text = f"address space: {_limit(resource.RLIMIT_AS)} (decoders take up to {wanted})"
    return Finding(text, fine=fine, needed=True)


def _shared_memory(folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding(f"shared memory: no {folder} here", fine=False)
    usage = shutil.disk_usage(folder)
    return Finding(f"shared memory: {usage.total / 1e9:.2f} GB, {usage.free / 1e9:.2f} GB free")


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
