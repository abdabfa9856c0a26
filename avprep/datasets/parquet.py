"""The clips in the rows of Parquet files: one a row, its bytes in columns as `datasets` writes `Video` and `Audio`."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from avprep.datasets.folder import is_media
from avprep.datasets.source import is_sound
from avprep.errors import ManifestError
from avprep.manifest.checks import SPLIT_SPELLINGS, Report
from avprep.manifest.clips import SEPARATOR, Clip
from avprep.shared import names, parquet_rows
from avprep.shared.archives import Archive, MemberError
from avprep.shared.errors import some_of
from avprep.shared.parquet_rows import Footer
from avprep.shared.urls import PARQUET, in_archive

LABEL = "label"
SOUNDS = ("audio", "sound", "wav", "speech")  # names of columns of sound whose rows have no path

AsLabels = Callable[[Any, str, str], list[str]]  # (value, field, whose) -> labels


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns have a clip's values; '' for none."""

    label: str = LABEL
    split: str = ""
    group: str = ""


def clips_of_parquet(
    archive: Archive, written: str, columns: Columns, split: str, as_labels: AsLabels, report: Report
) -> Iterator[Clip]:
    """The clip of each row of a file, which the manifest names `written`. `split` is that of rows without a column.

    Errors: ManifestError where the file cannot be read, has no media, or not the columns.
    """
    try:
        known = parquet_rows.footer(archive)
        rows = _rows(archive, known, columns)
    except MemberError as error:
        raise ManifestError(f"{archive} cannot be read ({error.detail}); give a file, or a URL of one.") from None
    features = _features(known)
    video, audio = _media(archive, known, rows, features)
    keys = _keys(rows, known, video or audio)
    for number, key in enumerate(keys):
        clip_id, whose = f"{posixpath.splitext(written)[0]}/{key}", f"row {number} of {archive}"
        value = _named(rows[columns.label][number], features.get(columns.label), whose)
        labels = as_labels(value, columns.label, whose)
        if not labels:
            report.unlabelled.append(clip_id)
            continue
        paths = [_member(column, number, rows, known, written) for column in (video, audio)]
        part = _first(as_labels, columns.split, rows, features, number, whose) or split
        yield Clip(
            clip_id=clip_id,
            label=labels[0],
            split=SPLIT_SPELLINGS.get(part.casefold(), part),
            video_path=paths[0],
            audio_path=paths[1],
            group=_first(as_labels, columns.group, rows, features, number, whose) or paths[0] or paths[1],
            labels=SEPARATOR.join(labels) if len(labels) > 1 else "",
        )


def _rows(archive: Archive, known: Footer, columns: Columns) -> dict[str, list[Any]]:
    """All values of the named columns and of the paths of media. Errors: ManifestError; MemberError."""
    wanted = [name for name in (columns.label, columns.split, columns.group) if name]
    usable = [name for name in known.schema.names if name not in known.media]
    for name in wanted:
        if name not in usable:
            raise ManifestError(
                f"{archive} has no column {name!r} of text or numbers; give --label, --split or --group one of: "
                f"{some_of(usable, 12)}."
            )
    if not known.media:
        raise ManifestError(f"{archive} has no column of bytes, or of bytes and path; leave it out.")
    wanted = list(dict.fromkeys([*wanted, *(media.path for media in known.media.values() if media.path)]))
    rows: dict[str, list[Any]] = {name: [] for name in wanted}
    for group in parquet_rows.values(archive, wanted):
        for name, values in zip(wanted, group, strict=True):
            rows[name] += values
    return rows


def _features(known: Footer) -> Mapping[str, Any]:
    """The features that `datasets` records of each column; {} where another library wrote the file."""
    try:
        features = json.loads((known.schema.metadata or {})[b"huggingface"])["info"]["features"]
        return features if isinstance(features, dict) else {}
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}


def _media(
    archive: Archive, known: Footer, rows: Mapping[str, list[Any]], features: Mapping[str, Any]
) -> tuple[str, str]:
    """The columns of pictures and of sound, '' for none: by feature, by the suffix of a path, by name.

    Errors: ManifestError where there are none, or several of a kind.
    """
    kinds: dict[bool, list[str]] = {False: [], True: []}
    for name, media in known.media.items():
        feature = features.get(name)
        kind = feature.get("_type") if isinstance(feature, dict) else None
        path = next((path for path in rows.get(media.path, ()) if path), "")
        if kind in ("Audio", "Video"):
            kinds[kind == "Audio"].append(name)
        elif kind != "Image" and (not path or is_media(path)):
            kinds[is_sound(path) if path else name.lower() in SOUNDS].append(name)
    for some in kinds.values():
        if len(some) > 1:
            raise ManifestError(
                f"{archive} has several columns of one kind of media ({', '.join(some)}); write it anew with one of "
                "pictures and one of sound at most."
            )
    chosen = tuple(next(iter(kinds[sound]), "") for sound in (False, True))
    if not any(chosen) or not all(names.is_plain(f"{name}/0") for name in chosen if name):
        raise ManifestError(
            f"{archive} has no column of media whose name is plain text among {', '.join(known.media)}; leave it out."
        )
    return chosen[0], chosen[1]


def _keys(rows: Mapping[str, list[Any]], known: Footer, column: str) -> list[str]:
    """An id of each row: the stem of its path, where all have one of their own, else its number."""
    paths = rows.get(known.media[column].path, [])
    stems = [posixpath.splitext(posixpath.basename(path or ""))[0] for path in paths]
    if stems and all(stems) and len(set(stems)) == len(stems):
        return stems
    return [str(number) for number in range(known.metadata.num_rows)]


def _member(column: str, row: int, rows: Mapping[str, list[Any]], known: Footer, written: str) -> str:
    """The address of a row's bytes; '' without a column."""
    if not column:
        return ""
    path = (rows.get(known.media[column].path) or [None] * (row + 1))[row] or ""
    suffix = posixpath.splitext(path)[1] if is_media(path) else ""
    return in_archive(PARQUET, f"{column}/{row}{suffix}", written)


def _first(
    as_labels: AsLabels, name: str, rows: Mapping[str, list[Any]], features: Mapping[str, Any], row: int, whose: str
) -> str:
    """The first value of a column in a row; '' without a column or value."""
    if not name:
        return ""
    return next(iter(as_labels(_named(rows[name][row], features.get(name), whose), name, whose)), "")


def _named(value: Any, feature: Any, whose: str) -> Any:
    """A value of `ClassLabel`, or a list of such, by its names; others as they are. -1 is none."""
    if isinstance(value, list):
        inner = feature.get("feature") if isinstance(feature, dict) else next(iter(feature or ()), None)
        return [_named(one, inner, whose) for one in value]
    if value is None or not isinstance(feature, dict) or not isinstance(feature.get("names"), list):
        return "" if value is None else value
    if value == -1:
        return ""
    try:
        return feature["names"][value if value >= 0 else len(feature["names"])]
    except (IndexError, TypeError):
        count = len(feature["names"])
        raise ManifestError(f"{whose} has the class {value!r}, of {count} names; repair the file.") from None
