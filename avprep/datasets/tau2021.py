"""TAU Urban Audio-Visual Scenes 2021: 10 s of 10 scenes, sound and picture in separate files (Wang et al. 2021).

Segments are named SCENE-CITY-LOCATION-NUMBER; those of one location belong together.
"""

from __future__ import annotations

from pathlib import Path

from avprep.datasets.drawn import AS_GIVEN, Shares, settled
from avprep.datasets.places import Folder, Remote
from avprep.datasets.tables import read_rows
from avprep.datasets.unnamed import unnamed
from avprep.errors import ManifestError
from avprep.findings import Report
from avprep.manifest import Clip

SCENES = (
    "airport", "bus", "metro", "metro_station", "park", "public_square", "shopping_mall", "street_pedestrian",
    "street_traffic", "tram",
)  # fmt: skip


def clips_of_tau2021(
    place: Folder | Remote,
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
    clips = []
    held_out = _locations(val_locations) if val_locations is not None else frozenset()
    found = set()
    named: set[str] = set()
    for split, path in lists.items():
        for audio, video in _files(path):
            name = Path(audio).stem
            parts = name.split("-")
            if len(parts) != 4 or parts[0] not in SCENES:
                raise ManifestError(f"{path}: {name!r} is not SCENE-CITY-LOCATION-NUMBER.")
            location = name.rpartition("-")[0]
            found.add(location)
            named.update((audio, video))
            if not (place.holds(audio) and place.holds(video)):
                report.missing.append(name)
                continue
            clips.append(
                Clip(
                    clip_id=name,
                    label=parts[0],
                    split="val" if split == "train" and location in held_out else split,
                    video_path=place.written(video),
                    audio_path=place.written(audio),
                    group=f"{parts[1]}-{parts[2]}",
                )
            )
    if held_out - found:
        raise ManifestError(f"{val_locations}: no list has a segment of {min(held_out - found)}.")
    report.unnamed = unnamed(place, named)
    return settled(clips, report, shares, drop_leaks=drop_leaks), report


def _locations(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} cannot be read ({error}).") from None


def _files(path: Path) -> list[tuple[str, str]]:
    """(audio, video) paths below the root, of each row of a list."""
    try:
        first = path.read_text(encoding="utf-8-sig").split("\n", 1)[0]
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}).") from None
    delimiter = "\t" if "\t" in first else ","
    if "filename_audio" in first:
        rows = read_rows(path, ("filename_audio", "filename_video"), delimiter)
        return [(row["filename_audio"], row["filename_video"]) for row in rows]
    names = [Path(row["test_dataname"]).stem for row in read_rows(path, ("test_dataname",), delimiter)]
    return [(f"audio/{name}.wav", f"video/{name}.mp4") for name in names]
