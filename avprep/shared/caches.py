"""Folders in which libraries keep what they compile or find: a temporary one where the home folder cannot be written.

Without it numba, which librosa needs, fails at its import where site-packages cannot be written either.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

VARIABLES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR")


def prepare_caches(environ: MutableMapping[str, str]) -> None:
    """Set those of VARIABLES that are not set, where the usual folder for caches cannot be written.

    The temporary folder goes with the process. Errors: FileNotFoundError where no temporary file can be made.
    """
    missing = [name for name in VARIABLES if name not in environ]
    if not missing or _writable(environ):
        return
    folder = tempfile.mkdtemp(prefix="avprep-caches-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    environ.update(dict.fromkeys(missing, folder))


def _writable(environ: MutableMapping[str, str]) -> bool:
    """Whether a file can be made in the folder for caches, or where that would be made."""
    given = environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(given) if given else Path.home() / ".cache"
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            return True
    except (OSError, RuntimeError):  # there may be no home at all
        return False
