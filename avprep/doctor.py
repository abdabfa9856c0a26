"""avprep doctor: what is installed and what this machine gives, each as one finding."""

from __future__ import annotations

import platform
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from avprep.config import Limits
from avprep.media.versions import CODECS, Decoder, probe_decord, probe_ffmpeg, probe_librosa, probe_pyav
from avprep.shared import __version__
from avprep.shared.machine import Finding, computer, disks, limit, package, shared_memory

NEEDED_PACKAGES = ("click", "numpy", "pyarrow", "tqdm", "ffmpeg-python", "jinja2")
OTHER_PACKAGES = ("fsspec", "ray", "s3fs", "gcsfs", "torch", "torchvision", "webdataset")
NEEDED_CODECS = frozenset({"h264", "aac"})


def examine(folders: Sequence[Path] = ()) -> list[Finding]:
    """All findings: versions, decoders, processor, memory and limits, disks of `folders`. Takes a few seconds."""
    return [
        Finding(f"avprep {__version__}, Python {platform.python_version()}, {platform.platform()}"),
        *(_decoder(decoder, needed) for decoder, needed in _decoders()),
        *(package(name, needed=True) for name in NEEDED_PACKAGES),
        *(package(name, needed=False) for name in OTHER_PACKAGES),
        *computer(),
        _address_space(),
        *disks(folders),
        shared_memory(),
    ]


def _decoders() -> Iterator[tuple[Decoder, bool]]:
    yield probe_pyav(), True
    yield probe_ffmpeg(), True
    yield probe_decord(), False
    yield probe_librosa(), True


def _decoder(decoder: Decoder, needed: bool) -> Finding:
    if decoder.error:
        return Finding(f"{decoder.name} does not load: {decoder.error}", fine=False, needed=needed)
    if not decoder.codecs:
        return Finding(f"{decoder.name} {decoder.version}")
    missing = [codec for codec in CODECS if codec not in decoder.codecs]
    without = f", not {', '.join(missing)}" if missing else ""
    return Finding(
        f"{decoder.name} {decoder.version} decodes {', '.join(decoder.codecs)}{without}",
        fine=set(decoder.codecs) >= NEEDED_CODECS,
        needed=needed,
    )


def _address_space() -> Finding:
    """A decoding process sets this limit for itself and must be allowed to."""
    wanted, hard = Limits().memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]
    fine = hard == resource.RLIM_INFINITY or hard >= wanted
    text = f"address space: {limit(resource.RLIMIT_AS)} (decoders take up to {wanted})"
    return Finding(text, fine=fine, needed=True)
