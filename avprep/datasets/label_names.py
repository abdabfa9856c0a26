"""Names of labels that a table has by their ids: AudioSet's ontology.json, class_labels_indices.csv and the like."""

from __future__ import annotations

import json
from pathlib import Path

from avprep.errors import ManifestError
from avprep.manifest.tables import csv_rows
from avprep.shared.text import opened

COLUMNS = (("id", "name"), ("mid", "display_name"))


def read_label_names(path: Path) -> dict[str, str]:
    """Class names by id: of a JSON list of objects, or a CSV table, with id and name, or mid and display_name.

    Errors: ManifestError where it is neither, or an id has two names.
    """
    if not path.is_file():
        raise ManifestError(f"{path} does not exist.")
    names: dict[str, str] = {}
    for label, name in _json(path) if path.suffix.lower() == ".json" else _csv(path):
        if names.setdefault(label, name) != name:
            raise ManifestError(f"{path} gives {label!r} two names, {names[label]!r} and {name!r}.")
    return names


def _json(path: Path) -> list[tuple[str, str]]:
    with opened(path) as text:
        try:
            entries = json.load(text)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{path} is not readable as JSON: {error}.") from None
    for label, name in COLUMNS:
        if isinstance(entries, list) and all(isinstance(one, dict) and label in one and name in one for one in entries):
            return [(str(one[label]), str(one[name])) for one in entries]
    raise ManifestError(f"{path} is no list of objects with 'id' and 'name', as AudioSet's ontology.json is.")


def _csv(path: Path) -> list[tuple[str, str]]:
    rows = [row for _, row in csv_rows(path) if row]
    header = [name.strip() for name in rows[0]] if rows else []
    for label, name in COLUMNS:
        if label in header and name in header:
            columns = header.index(label), header.index(name)
            if any(len(row) != len(header) for row in rows):
                raise ManifestError(f"{path} has rows of another number of fields than its header.")
            return [(row[columns[0]], row[columns[1]]) for row in rows[1:]]
    raise ManifestError(
        f"{path} has no columns id and name, or mid and display_name, in its header; it has {', '.join(header)}."
    )
