"""Kinetics-Sounds: the classes of Kinetics that are both visible and audible (Arandjelovic and Zisserman 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Option, Row, seconds_of
from avprep.datasets.youtube import FILES, NAMES, file_of
from avprep.errors import ManifestError

if TYPE_CHECKING:
    from avprep.datasets.source import Source

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
SPLITS = {"validate": "val"}
"""of Kinetics-600 and 700; that of 400 has val"""


def rows(
    source: Source, *, metadata: tuple[Path, ...], classes: Path, test_split: str, files: str | None
) -> Iterator[Row]:
    """The clips of the Kinetics csv files whose class is in a list; a clip is ID_START_END, its group the YouTube id.

    Errors: ManifestError where no class of the list is in the files, or both val and test clips would be test clips.
    """
    every = [(path, row) for path in metadata for row in source.table(path, COLUMNS)]
    listed = source.ids(classes, {row["label"] for _, row in every}, ("label",))
    if not listed.known:
        raise ManifestError(f"{classes} has no class of {metadata[0]}: {listed.examples()}, are in no row of it.")
    source.report.absent = listed.unknown
    wanted = set(listed.known)
    for path, row in every:
        start, end = (seconds_of(row, column, path) for column in ("time_start", "time_end"))
        file, begin, stop = file_of(source, row["youtube_id"], start, end, files)
        if row["label"] not in wanted:
            continue
        split = SPLITS.get(row["split"], row["split"])
        if test_split == "val" and split == "test":
            raise ManifestError(f"{path} has test clips, and --test-split val makes others of val; leave the file out.")
        yield Row(
            clip_id=f"{row['youtube_id']}_{int(start):06d}_{int(end):06d}",
            label=row["label"],
            split="test" if split == test_split else split,
            files=[file],
            start_seconds=begin,
            end_seconds=stop,
            group=row["youtube_id"],
        )


ADAPTER = Adapter(
    name="kinetics-sounds",
    title="Kinetics-Sounds: the audible and visible classes of Kinetics",
    paper="Arandjelovic and Zisserman 2017",
    layout="the videos of Kinetics at any depth",
    labels="1 of 31, 32 or 34, by the list in `--classes`",
    splits="those of Kinetics; `--test-split val` makes its val clips the test split",
    licence="labels CC BY 4.0; the videos are their authors'",
    example="--root kinetics --metadata train.csv --metadata val.csv --classes kinetics_sounds_31.txt --test-split val",
    rows=rows,
    group="YouTube id",
    note=f"Files are named {NAMES}. The package has kinetics_sounds_31.txt, kinetics_sounds_32.txt and "
    "kinetics_sounds_34.csv.",
    options=(
        Option(flag="--metadata", required=True, many=True, help="train.csv, val.csv or test.csv; may be repeated."),
        Option(flag="--classes", required=True, help="List of class names, one a line or in the column label."),
        Option(
            flag="--test-split",
            kind="choice",
            choices=("test", "val"),
            default="test",
            help="The split of Kinetics that is the test split.",
        ),
        FILES,
    ),
)
