"""Which code a run was made with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from avprep.shared import __version__

DISTRIBUTION = "avprep-avtrain"


@cache
def environment() -> dict[str, Any]:
    """Versions, machine and commit of this process."""
    import numpy
    import torch
    import torchvision

    return {
        "avtrain": __version__,
        "commit": commit_of(Path(__file__).parents[2]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "cpus": os.cpu_count(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
    }


def commit_of(folder: Path) -> str | None:
    """The git commit of the code in `folder`, and `+changes` where tracked files differ from it.

    Without a repository there, the one that pip installed the package from; None where neither is known.
    """
    if not (folder / ".git").exists():
        return _installed_commit()
    try:
        commit, changed = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]  # killed, it leaves no index.lock
    return subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="replace").strip()


def _installed_commit() -> str | None:
    try:
        source = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    return json.loads(source or "{}").get("vcs_info", {}).get("commit_id")
