"""What wrote a shard's bytes: versions of Python, the machine type and the packages that touch them."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("avprep-avtrain", "av", "decord", "imageio-ffmpeg", "librosa", "numpy", "simplejpeg")
"""librosa touches no byte, but is in the digest of every build: without it none that has begun could go on."""


def versions() -> dict[str, str]:
    """Versions of everything that touches a shard's bytes."""
    known = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            known[name] = "not installed"
    return known
