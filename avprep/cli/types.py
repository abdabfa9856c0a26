"""Parameter types that the commands share."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from avprep.datasets.lists import list_path
from avprep.shared.outputs import REPORT_ENDING, Output, PathOrUrl, is_json_object, is_page, note_input

DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


class ListFile(click.Path):
    """A file; by its bare name one that comes with the package, where there is no such file; at a URL, a copy of it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from avprep.shared.mirror import near
        from avprep.shared.urls import is_url

        if is_url(value) and ctx is not None:
            note_input(ctx, param, value)
            return ctx.with_resource(near(value))
        return super().convert(list_path(value), param, ctx)


def _is_manifest(path: Path) -> bool:
    """Whether a CSV, JSONL or Parquet file has the columns of a manifest, and no others."""
    from avprep.manifest.clips import COLUMNS
    from avprep.manifest.tables import column_names
    from avprep.shared.errors import UserError

    names: set[str] = set()
    with contextlib.suppress(OSError, ValueError, UserError):
        names = set(column_names(path))
    return {"clip_id", "label", "split", "video_path", "audio_path"} <= names <= set(COLUMNS)


def _report_names() -> set[str]:
    import dataclasses

    from avprep.manifest.checks import Report

    return {field.name for field in dataclasses.fields(Report)}


def _is_duplicates(path: Path) -> bool:
    """Whether a CSV or Parquet file has the columns of a table of duplicates."""
    from avprep.manifest.tables import column_names
    from avprep.shared.errors import UserError

    with contextlib.suppress(OSError, ValueError, UserError):
        return {"group", "other_clip_id", "picture_distance", "sound_distance"} <= set(column_names(path))
    return False


def _is_our_list(path: Path) -> bool:
    from avprep.manifest.id_lists import is_our_list

    return is_our_list(path)


FOLDER_OR_URL = PathOrUrl(path_type=Path, file_okay=False)
FILE_OR_URL = PathOrUrl(path_type=Path, dir_okay=False)
LIST = ListFile()
OUT_FOLDER = Output()
OUT_FOLDER_OR_URL = Output(remote=True)
OUT_PAGE = Output((".html", ".htm"), is_page("preview"))
OUT_DUPLICATES = Output((".csv", ".parquet"), _is_duplicates)
OUT_DUPLICATES_PAGE = Output((".html", ".htm"), is_page("duplicates"))
OUT_IDS = Output((".txt",), _is_our_list)
OUT_MANIFEST = Output(
    (".csv", ".jsonl", ".parquet"), _is_manifest, {REPORT_ENDING: is_json_object(_report_names)}, remote=True
)
