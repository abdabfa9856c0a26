"""TAU Urban Audio-Visual Scenes 2021: 10 s of 10 scenes, sound and picture in separate files (Wang et al. 2021).

Segments are named SCENE-CITY-LOCATION-NUMBER; those of one location belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avprep.datasets.drawn import AS_GIVEN, Shares, settled
from avprep.datasets.media_folder import MediaFolder
from avprep.datasets.metadata_csv import read_rows
from avprep.datasets.unnamed import unnamed
from avprep.errors import ManifestError
from avprep.manifest.checks import Report
from avprep.manifest.id_lists import read_ids
from avprep.manifest.read_write import Clip
from avprep.shared.text import opened

SCENES = (
    "airport", "bus", "metro", "metro_station", "park", "public_square", "shopping_mall", "street_pedestrian",
    "street_traffic", "tram",
)  # fmt: skip


def clips_of_tau2021(
    media: MediaFolder,
    lists: dict[str, Path],
    *,
    val_locations: Path | None = None,
    drop_leaks: bool = False,
    shares: Shares = AS_GIVEN,
) -> tuple[list[Clip], Report]:
    """Manifest rows of the split lists (split -> csv) whose two files are in a folder; the group is the location.

    A list has filename_audio, filename_video and scene_label, or names alone (the scene is then the name's first part).
    Comma or tab separates. `val_locations`: SCENE-CITY-LOCATION, one a line, whose training segments become the
    validation split. `shares` of the training clips become other splits, by location. Errors: ManifestError.
    """
    report = Report()
    segments = [(split, *segment) for split, path in lists.items() for segment in _segments(path)]
    held_out = _locations(val_locations, {name.rpartition("-")[0] for _, name, _, _ in segments})
    clips = []
    for split, name, audio, video in segments:
        if not (media.holds(audio) and media.holds(video)):
            report.missing.append(name)
            continue
        scene, city, location, _ = name.split("-")
        held = split == "train" and name.rpartition("-")[0] in held_out
        clips.append(
            Clip(
                clip_id=name,
                label=scene,
                split="val" if held else split,
                video_path=media.written(video),
                audio_path=media.written(audio),
                group=f"{city}-{location}",
            )
        )
    report.unnamed = unnamed(media, {path for _, _, *paths in segments for path in paths})
    report.foreign = media.foreign
    return settled(clips, report, shares, drop_leaks=drop_leaks), report


def _locations(path: Path | None, known: set[str]) -> set[str]:
    """The locations of a list, if there is one. Errors: UserError where one is not in `known`."""
    if path is None:
        return set()
    listed = read_ids(path, known, ("location",))
    if listed.unknown:
        raise ManifestError(
            f"{path}: no list has a segment of {listed.examples()}; give SCENE-CITY-LOCATION, one a line."
        )
    return set(listed.known)


def _segments(path: Path) -> Iterator[tuple[str, str, str]]:
    """(name, audio and video below the root) of each row of a list. Errors: ManifestError; UserError."""
    for audio, video in _files(path):
        name = Path(audio).stem
        parts = name.split("-")
        if len(parts) != 4 or parts[0] not in SCENES:
            raise ManifestError(f"{path}: {name!r} is not SCENE-CITY-LOCATION-NUMBER.")
        yield name, audio, video


def _files(path: Path) -> list[tuple[str, str]]:
    """(audio, video) paths below the root, of each row of a list."""
    with opened(path) as text:
        first = text.readline()
    delimiter = "\t" if "\t" in first else ","
    if "filename_audio" in first:
        rows = read_rows(path, ("filename_audio", "filename_video"), delimiter)
        return [(row["filename_audio"], row["filename_video"]) for row in rows]
    names = [Path(row["test_dataname"]).stem for row in read_rows(path, ("test_dataname",), delimiter)]
    return [(f"audio/{name}.wav", f"video/{name}.mp4") for name in names]
