"""The clips inside tar, zip and Parquet files: one for each media member, labelled by its folder or what is beside it.

That is the layout of WebDataset, video2dataset and mirrors on hubs, KEY.mp4 beside KEY.json and KEY.txt, and of zip
files that hold a folder a class.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from avprep.datasets.archive_folder import kind_of
from avprep.datasets.drawn import AS_GIVEN, Shares, settled
from avprep.datasets.folder import is_media
from avprep.datasets.media_folder import LocalFolder, is_foreign
from avprep.datasets.parquet import LABEL, Columns, clips_of_parquet
from avprep.datasets.source import is_sound
from avprep.errors import ManifestError
from avprep.manifest.addresses import server_and_path, wrong_address
from avprep.manifest.checks import SPLIT_SPELLINGS, Report
from avprep.manifest.clips import SEPARATOR, Clip
from avprep.shared import archives, names
from avprep.shared.archives import Archive, Member, MemberError
from avprep.shared.errors import some_of
from avprep.shared.remote import RemotePath
from avprep.shared.text import as_text
from avprep.shared.urls import ARCHIVES, HTTP, PARQUET, in_archive, is_url

FOLDER = "folder"
ARCHIVE = "archive"
MOST_BESIDE_BYTES = 1 << 20
TOGETHER = 32

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
    """Where values of a clip are: `folder`, that of the member; `.SUFFIX`, the text of KEY.SUFFIX; else of KEY.json."""

    label: str = FOLDER
    split: str = ""
    """also `archive`: the name of the archive's folder, or the first word of its own; '': train"""
    group: str = ""
    """'': the file"""


@dataclasses.dataclass(frozen=True)
class _Sample:
    """The media of one key, and the members beside them by suffix."""

    key: str
    media: list[str]
    beside: Mapping[str, str]


def clips_of_archives(
    files: Sequence[Path | str], manifest_folder: str, fields: Fields, shares: Shares = AS_GIVEN
) -> tuple[list[Clip], Report]:
    """Manifest rows for the media members of archives, for a manifest in a folder, and the findings.

    A member of pictures and one of sound that differ in their suffix alone are one clip. Errors: UserError where an
    archive cannot be read, or a field is missing.
    """
    report = Report()
    clips = [clip for file in files for clip in _clips(file, manifest_folder, fields, report)]
    return settled(clips, report, shares), report


def _clips(file: Path | str, manifest_folder: str, fields: Fields, report: Report) -> Iterator[Clip]:
    kind = kind_of(file)
    if kind not in (*ARCHIVES, PARQUET) or "::" in str(file):
        raise ManifestError(
            f"{file} is not named like an archive; give .tar files, not compressed, .zip or .parquet files, without "
            "'::' in their names."
        )
    if is_url(file) and (wrong := wrong_address(str(file))):
        raise ManifestError(f"An archive cannot be read: {wrong}.")
    archive: Archive = RemotePath(file) if isinstance(file, str) else file
    written = _written(file, manifest_folder)
    if kind == PARQUET:
        split = own_split(archive) if fields.split == ARCHIVE else "train" if not fields.split else ""
        label, part = ("" if name in (FOLDER, ARCHIVE) else name for name in (fields.label, fields.split))
        columns = Columns(label=label or LABEL, split=part, group=fields.group)
        yield from clips_of_parquet(archive, written, columns, split, as_labels, report)
        return
    try:
        known = archives.members(archive, kind)
    except MemberError as error:
        raise ManifestError(f"{file} cannot be read ({error.detail}); give a file, or a URL of one.") from None
    samples = list(_samples(known, archive, report))
    values = _Values(archive, known, fields)
    with ThreadPoolExecutor(TOGETHER) as pool:  # one request each, where the archive is at a URL
        for sample, (labels, split, group) in zip(samples, pool.map(values.of, samples), strict=True):
            clip_id = f"{posixpath.splitext(written)[0]}/{sample.key}"
            if not labels:
                report.unlabelled.append(clip_id)
                continue
            sounds = [in_archive(kind, name, written) for name in sample.media if is_sound(name)]
            pictures = [in_archive(kind, name, written) for name in sample.media if not is_sound(name)]
            report.duplicates += sounds[1:] + pictures[1:]
            video, audio = (next(iter(some), "") for some in (pictures, sounds))
            yield Clip(
                clip_id=clip_id,
                label=labels[0],
                split=split,
                video_path=video,
                audio_path=audio,
                group=group or video or audio,
                labels=SEPARATOR.join(labels) if len(labels) > 1 else "",
            )


def _samples(known: Mapping[str, Member], archive: Archive, report: Report) -> Iterator[_Sample]:
    """The media of an archive by key, sorted, without those of systems and tools."""
    media: dict[str, list[str]] = {}
    beside: dict[str, dict[str, str]] = {}
    odd = []
    for name in sorted(known):
        foreign = next(filter(is_foreign, name.split("/")[:-1]), None)
        key, suffix = posixpath.splitext(name)
        if foreign is not None:
            report.foreign = sorted({*report.foreign, foreign})
        elif not is_media(name):
            beside.setdefault(key, {})[suffix.lower()] = name
        elif names.is_plain(name):
            media.setdefault(key, []).append(name)
        else:
            odd.append(name)
    if odd:
        log.warning("%d members of %s are not plain paths and were left out, such as %r", len(odd), archive, odd[0])
    if not media:
        raise ManifestError(f"{archive} has no media among its {len(known)} members; leave it out.")
    for key, some in media.items():
        folder, name = posixpath.split(key)
        first = posixpath.join(folder, name.partition(".")[0])  # KEY.video.mp4 beside KEY.json
        yield _Sample(key, some, {**beside.get(first, {}), **beside.get(key, {})})


class _Values:
    """The fields of an archive's samples."""

    def __init__(self, archive: Archive, known: Mapping[str, Member], fields: Fields) -> None:
        self._archive, self._known, self._fields = archive, known, fields

    def of(self, sample: _Sample) -> tuple[list[str], str, str]:
        """(labels, split, group) of a sample; no labels and '' where it has none. Errors: UserError."""
        wanted = (self._fields.label, self._fields.split, self._fields.group)
        named = [name for name in wanted if name and name not in (FOLDER, ARCHIVE) and not name.startswith(".")]
        described = self._described(sample, f" that could have {named[0]}") if named else {}
        labels, split, group = (self._value(sample, name, described) for name in wanted)
        part = split[0] if split else "" if self._fields.split else "train"
        return labels, SPLIT_SPELLINGS.get(part.casefold(), part), group[0] if group else ""

    def _value(self, sample: _Sample, name: str, described: Mapping[str, Any]) -> list[str]:
        if not name:
            return []
        if name == FOLDER:
            folder = posixpath.basename(posixpath.dirname(sample.key))
            if not folder:
                fields = self._described(sample, "") if ".json" in sample.beside else {}
                raise self._missing(sample, "is in no folder of a class", fields)
            return [folder]
        if name == ARCHIVE:
            return [own_split(self._archive)]
        if name.startswith("."):
            beside = sample.beside.get(name.lower())
            return as_labels(self._text(beside).strip(), name, self._whose(sample)) if beside else []
        if name not in described:
            raise self._missing(sample, f"has no {name} in its .json", described)
        return as_labels(described[name], name, self._whose(sample))

    def _whose(self, sample: _Sample) -> str:
        return f"{sample.media[0]} in {self._archive}"

    def _described(self, sample: _Sample, why: str) -> Mapping[str, Any]:
        """KEY.json."""
        if ".json" not in sample.beside:
            raise self._missing(sample, f"has no .json beside it{why}", {})
        try:
            values = json.loads(self._text(sample.beside[".json"]))
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise ManifestError(
                f"{sample.beside['.json']} in {self._archive} is no JSON object; leave the archive out."
            )
        return values

    def _text(self, name: str) -> str:
        member = self._known[name]
        if member.size > MOST_BESIDE_BYTES:
            raise ManifestError(f"{name} in {self._archive} has {member.size} bytes, the limit is {MOST_BESIDE_BYTES}.")
        try:
            return b"".join(archives.content(self._archive, member)).decode("utf-8-sig")
        except (MemberError, UnicodeDecodeError) as error:
            why = error.detail if isinstance(error, MemberError) else "it is not UTF-8"
            raise ManifestError(f"{name} in {self._archive} cannot be read ({why}); leave the archive out.") from None

    def _missing(self, sample: _Sample, what: str, described: Mapping[str, Any]) -> ManifestError:
        has = [*map(str, described), *(suffix for suffix in sorted(sample.beside) if suffix != ".json")]
        return ManifestError(
            f"{sample.media[0]} in {self._archive} {what}; give --label, --split or --group one of: "
            f"{some_of([*has, FOLDER], 12)}."
        )


def as_labels(value: Any, name: str, whose: str) -> list[str]:
    """The labels of a field, those of a list, without empty and repeated ones. Errors: ManifestError."""
    several = value if isinstance(value, list) else [value]
    try:
        labels = [as_text(one, name).strip() for one in several]
    except ValueError as error:
        raise ManifestError(f"{whose}: {error}.") from None
    wrong = [label for label in labels if SEPARATOR in label and len(labels) > 1]
    if wrong:
        raise ManifestError(
            f"The label {wrong[0]!r} of {whose} has a {SEPARATOR!r}, which is between the labels of a manifest; give "
            "another --label."
        )
    return list(dict.fromkeys(filter(None, labels)))


def own_split(archive: Archive) -> str:
    """The split that an archive's folder, or the first word of its name, names. Errors: ManifestError."""
    parts = str(archive).split("/")
    words = (parts[-2] if len(parts) > 1 else "", re.split(r"[^A-Za-z]+", parts[-1])[0])
    splits = [SPLIT_SPELLINGS[word.casefold()] for word in words if word.casefold() in SPLIT_SPELLINGS]
    if not splits:
        raise ManifestError(
            f"--split archive: neither the folder of {archive} nor its name begins with train, val or test; rename it, "
            "or draw splits with --test-share."
        )
    return splits[-1]


def _written(file: Path | str, manifest_folder: str) -> str:
    """The archive as a manifest in that folder names it: relative on this machine and in the same bucket."""
    if isinstance(file, Path):
        return LocalFolder(file.parent, manifest_folder).written(file.name)
    server, path = server_and_path(file)
    other, begin = server_and_path(manifest_folder)
    near = other == server and not server.startswith(tuple(f"{scheme}:" for scheme in HTTP))
    return posixpath.relpath(path, begin) if near else file
