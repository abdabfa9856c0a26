"""Parameter types that the commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


class ListFile(click.Path):
    """A file, or by its bare name a list that comes with the package, where there is no such file."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        own = Path(__file__).parent.parent / "manifests" / str(value)
        bare = Path(value).name == str(value) and not Path(value).exists()
        return super().convert(own if bare and own.is_file() else value, param, ctx)


LIST = ListFile()


def place(text: str) -> Path | str:
    """A path, or a URL as text."""
    return text if "://" in text else Path(text)
