"""How a table that is no manifest becomes one: other names of columns, no header, several labels a clip, paths made."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from avprep.errors import ManifestError
from avprep.manifest.clips import SEPARATOR
from avprep.shared.text import as_text


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What `avprep manifest table` is given beside the table; the defaults are those of a manifest."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    """the manifest's name for a column of the table"""
    columns: tuple[str, ...] = ()
    """the columns of a CSV file without a header; lines that begin with # are comments there"""
    separator: str = SEPARATOR
    """between the labels in one field of the column `labels`"""
    label_names: Mapping[str, str] = field(default_factory=dict)
    """class names by what the table has in their place; empty: it has the names"""
    video_path: str = ""
    """such as `clips/{YTID}.mp4`: the path of a row, with the table's own columns in braces; empty: as in the table"""
    audio_path: str = ""
    """the same for a file of sound"""
    split: str = ""
    """of rows that have none; empty: train"""

    def fields(self) -> list[str]:
        """Columns that paths are made of. Errors: ManifestError."""
        names: list[str] = []
        for option, template in (("--video-path", self.video_path), ("--audio-path", self.audio_path)):
            try:
                fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
            except ValueError as error:
                raise ManifestError(f"{option} {template!r} cannot be used: {error}.") from None
            if template and not all(fields):
                raise ManifestError(f"{option} {template!r} has braces without the name of a column.")
            if template and not fields:
                raise ManifestError(f"{option} {template!r} names no column in braces, such as {{clip_id}}.")
            names += fields
        return list(dict.fromkeys(names))

    def path(self, template: str, row: Mapping[str, Any]) -> str:
        """The path of a row, whose columns are under their names in braces. Errors: ValueError."""
        fields = {name[1:-1]: _Field(value) for name, value in row.items() if name.startswith("{")}
        try:
            return template.format_map(fields)
        except KeyError as error:
            raise ValueError(f"no {error.args[0]}, of which the path is made") from None

    def labels(self, value: Any) -> list[str]:
        """The class names in a value of the column `labels`, each once, in order. Errors: ValueError."""
        parts = value.split(self.separator) if isinstance(value, str) else value if isinstance(value, list) else [value]
        names = [self.name(as_text(part, "labels").strip()) for part in parts]
        wrong = [name for name in names if SEPARATOR in name]
        if wrong:
            raise ValueError(f"the label {wrong[0]!r} of several has a {SEPARATOR!r}, which is between them")
        return list(dict.fromkeys(filter(None, names)))

    def name(self, label: str) -> str:
        """The class name of a label. Errors: ValueError."""
        if not label or not self.label_names:
            return label
        if label not in self.label_names:
            raise ValueError(f"--label-names has no name for {label!r}")
        return self.label_names[label]


class _Field:
    """A value in a path: its text, or, with a format such as 06.0f, its number."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __format__(self, spec: str) -> str:
        text = as_text(self.value, "a path", whole=False).strip()
        return format(float(text), spec) if spec else text
