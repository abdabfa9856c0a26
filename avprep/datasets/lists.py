"""The lists that are installed with the package, by name: classes, splits, subsets (manifests/README.md)."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "manifests"


def packaged(name: str) -> Path:
    """The path of a list of the package."""
    return FOLDER / name


def list_path(value: Path | str) -> Path:
    """The path itself; for a bare name without such a file, the package's list of this name, if there is one."""
    own = packaged(str(value))
    bare = Path(value).name == str(value) and not Path(value).exists()
    return own if bare and own.is_file() else Path(value)
