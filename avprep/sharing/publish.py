"""avprep publish: a dataset with its card into a repository of the Hugging Face hub; the same command goes on.

Shards first, dataset.json and the card last. A file that is there with the same bytes is not uploaded again; nothing is
deleted there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from avprep import schema
from avprep.build.finalize import excluded_clips
from avprep.dataset import Dataset
from avprep.shared import names
from avprep.shared.cards import README
from avprep.shared.commands import Progress
from avprep.shared.errors import UserError, some_of
from avprep.shared.hub import DATASET, Hub, Published, address_of, is_there
from avprep.sharing.card import CROISSANT, dataset_of_readme

LAST = (schema.DATASET, CROISSANT, README)
LEFT_OUT = ("reports",)
"""folders of what a machine did, which is no part of the dataset"""
FILES_TOGETHER = 200
BYTES_TOGETHER = 20_000_000_000
"""of one commit: the hub keeps the bytes of large files that were sent before it, also where it is not reached"""


def publish(
    folder: Path, target: str, *, public: bool = False, include_excluded: bool = False, quiet: bool = False
) -> Published:
    """Upload a finished dataset folder to hf://datasets/ORG/NAME; a new repository is private unless `public`.

    Errors: UserError where the card is missing or of another state of the dataset, where clips are excluded whose bytes
    are in the shards (unless `include_excluded`), where the repository has shards that the dataset has not, or where
    the hub refuses or cannot be reached.
    """
    repository = address_of(target, DATASET).repository
    dataset = Dataset(folder)
    _check_card(folder, dataset.digest)
    _check_excluded(folder, include_excluded)
    files = files_of(folder)
    hub = Hub(repository, DATASET)
    page = hub.create(private=not public)
    there = hub.files()
    strange = sorted(name for name in there if name.startswith("shards/") and name not in files)
    if strange:
        raise UserError(
            f"{target} has {len(strange)} shards or parts of them that {folder} has not ({some_of(strange)}); delete "
            "them there, or take another name."
        )
    digests = {name: facts["sha256"] for name, facts in dataset.info["shards"].items()}
    wanted = [name for name in files if not is_there(there.get(name), files[name], digests.get(name))]
    sizes = {name: files[name].stat().st_size for name in wanted}
    with Progress(len(wanted), "files", "publish", quiet) as progress:
        for number, batch in enumerate(batches(sizes), start=1):
            hub.add({name: files[name] for name in batch}, f"avprep publish: {len(batch)} files, part {number}")
            progress.advance(len(batch))
    return Published(page, len(wanted), sum(sizes.values()), len(files) - len(wanted))


def files_of(folder: Path) -> dict[str, Path]:
    """The files of a dataset by their names in it, in the order in which they are uploaded.

    Without reports, and without what begins with a dot (locks, and what a killed process left).
    """
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    ours = {
        name: path
        for name, path in paths.items()
        if not any(part.startswith(".") for part in name.split("/")) and name.split("/")[0] not in LEFT_OUT
    }
    for name in ours:
        names.checked(name, folder)
    order = sorted(ours, key=lambda name: (not name.startswith("shards/"), name in LAST))
    return {name: ours[name] for name in order}


def batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Names of files in order, those of one commit together; the last files in one of their own."""
    batch: list[str] = []
    held = 0
    for name, size in sizes.items():
        ends = name in LAST and not (batch and batch[-1] in LAST)
        if batch and (ends or len(batch) >= FILES_TOGETHER or held + size > BYTES_TOGETHER):
            yield batch
            batch, held = [], 0
        batch.append(name)
        held += size
    if batch:
        yield batch


def absolute_paths(folder: Path) -> int:
    """How many clips of a dataset name their source by an absolute path, which a published dataset shows."""
    table = Dataset(folder).plan_columns("video_path", "audio_path")
    absolute = pc.or_(
        *(
            pc.match_substring_regex(table.column(name), "^/|^(tar|zip)://.*::/")
            for name in ("video_path", "audio_path")
        )
    )
    return int(pc.sum(absolute).as_py() or 0)


def _check_card(folder: Path, digest: str) -> None:
    path = folder / README
    if not path.is_file():
        raise UserError(f"{path} does not exist; 'avprep card {folder} --license NAME' writes it.")
    written_for = dataset_of_readme(path.read_text(encoding="utf-8", errors="replace"))
    if written_for not in (None, digest):
        raise UserError(
            f"{path} was written for another state of the dataset; run 'avprep card' again, or where you edited it, "
            "correct it and remove its last line."
        )


def _check_excluded(folder: Path, include_excluded: bool) -> None:
    excluded: list[Any] = excluded_clips(folder)
    if excluded and not include_excluded:
        raise UserError(
            f"{len(excluded)} clips of {folder} are excluded, and its shards may still hold them; build it without "
            "them, or publish them too with --include-excluded."
        )
