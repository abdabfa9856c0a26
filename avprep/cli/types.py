"""Parameter types that the commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


class Place(click.Path):
    """A path, or a URL as text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from avprep.shared.mirror import is_url

        return value if is_url(value) else super().convert(value, param, ctx)


class ListFile(click.Path):
    """A file; by its bare name one that comes with the package, where there is no such file; at a URL, a copy of it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from avprep.fetching import near
        from avprep.shared.mirror import is_url

        if is_url(value) and ctx is not None:
            return ctx.with_resource(near(value))
        own = Path(__file__).parent.parent / "manifests" / str(value)
        bare = Path(value).name == str(value) and not Path(value).exists()
        return super().convert(own if bare and own.is_file() else value, param, ctx)


FOLDER_PLACE = Place(path_type=Path, file_okay=False)
FILE_PLACE = Place(path_type=Path, dir_okay=False)
LIST = ListFile()
