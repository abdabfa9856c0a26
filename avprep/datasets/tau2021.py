"""TAU Urban Audio-Visual Scenes 2021: 10 s of 10 scenes, sound and picture in separate files (Wang et al. 2021).

Segments are named SCENE-CITY-LOCATION-NUMBER; those of one location belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Option, Row
from avprep.errors import ManifestError

if TYPE_CHECKING:
    from avprep.datasets.source import Source

SCENES = (
    "airport", "bus", "metro", "metro_station", "park", "public_square", "shopping_mall", "street_pedestrian",
    "street_traffic", "tram",
)  # fmt: skip


def rows(source: Source, *, train: Path, val: Path | None, test: Path, val_locations: Path | None) -> Iterator[Row]:
    """The segments of the split lists; both files of a segment are needed, the group is the location.

    A list has filename_audio, filename_video and scene_label, or names alone (the scene is then the name's first part).
    Comma or tab separates. `val_locations`: SCENE-CITY-LOCATION, one a line, whose training segments become the
    validation split. Errors: ManifestError.
    """
    lists = {split: path for split, path in (("train", train), ("val", val), ("test", test)) if path is not None}
    segments = [(split, *segment) for split, path in lists.items() for segment in _segments(source, path)]
    held_out = _locations(source, val_locations, {name.rpartition("-")[0] for _, name, _, _ in segments})
    for split, name, audio, video in segments:
        scene, city, location, _ = name.split("-")
        held = split == "train" and name.rpartition("-")[0] in held_out
        yield Row(
            clip_id=name,
            label=scene,
            split="val" if held else split,
            files=[source.at(video), source.at(audio)],
            group=f"{city}-{location}",
        )


def _locations(source: Source, path: Path | None, known: set[str]) -> set[str]:
    """The locations of a list, if there is one. Errors: UserError where one is not in `known`."""
    if path is None:
        return set()
    listed = source.ids(path, known, ("location",))
    if listed.unknown:
        raise ManifestError(
            f"{path}: no list has a segment of {listed.examples()}; give SCENE-CITY-LOCATION, one a line."
        )
    return set(listed.known)


def _segments(source: Source, path: Path) -> Iterator[tuple[str, str, str]]:
    """(name, audio and video below the root) of each row of a list. Errors: ManifestError; UserError."""
    for audio, video in _files(source, path):
        name = Path(audio).stem
        parts = name.split("-")
        if len(parts) != 4 or parts[0] not in SCENES:
            raise ManifestError(f"{path}: {name!r} is not SCENE-CITY-LOCATION-NUMBER.")
        yield name, audio, video


def _files(source: Source, path: Path) -> list[tuple[str, str]]:
    """(audio, video) paths below the root, of each row of a list."""
    first = source.first_line(path)
    delimiter = "\t" if "\t" in first else ","
    if "filename_audio" in first:
        listed = source.table(path, ("filename_audio", "filename_video"), delimiter)
        return [(row["filename_audio"], row["filename_video"]) for row in listed]
    names = [Path(row["test_dataname"]).stem for row in source.table(path, ("test_dataname",), delimiter)]
    return [(f"audio/{name}.wav", f"video/{name}.mp4") for name in names]


ADAPTER = Adapter(
    name="tau2021",
    title="TAU Urban Audio-Visual Scenes 2021: 10 s of city scenes",
    paper="Wang et al. 2021",
    layout="`audio/` and `video/`",
    labels="1 of 10",
    splits="`--train`, `--val`, `--test`; `--val-locations` moves training segments to val",
    licence="non-commercial use",
    example="--root TAU --train train.csv --test test.csv --val-locations tau2021_val_locations_paper.txt",
    rows=rows,
    group="location",
    note="Sound and picture are separate files.",
    options=(
        Option(flag="--train", required=True, help="List of training segments."),
        Option(flag="--val", help="List of validation segments."),
        Option(flag="--test", required=True, help="List of test segments."),
        Option(flag="--val-locations", help="SCENE-CITY-LOCATION, one a line: training segments for validation."),
    ),
)
