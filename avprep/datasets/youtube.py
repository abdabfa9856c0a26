"""Files of spans of YouTube videos: the names that people's downloaders give them, by id and seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Option
from avprep.errors import ManifestError

if TYPE_CHECKING:
    from avprep.datasets.source import Source

FILES = Option(
    flag="--files",
    kind="choice",
    choices=("segments", "videos"),
    help="What a file holds that is named by the YouTube id alone: the segment, or the whole video to cut it from.",
)
NAMES = "ID_000030_000040, ID_000030, ID_30000_40000, ID_30_40, ID_30.000_40.000, ID_30.000, ID, each also YID"


def whole_span(seconds: float) -> bool:
    """Whether a time is a whole number of seconds, as file names have it."""
    return seconds == int(seconds)


def names(youtube_id: str, start: float, end: float) -> Iterator[str]:
    """The names, without suffix, of a file that holds one span: in seconds of six digits, milliseconds, seconds."""
    for name in (youtube_id, f"Y{youtube_id}"):
        if whole_span(start) and whole_span(end):
            yield f"{name}_{int(start):06d}_{int(end):06d}"
            yield f"{name}_{int(start):06d}"
            yield f"{name}_{int(start)}_{int(end)}"
        yield f"{name}_{round(start * 1000)}_{round(end * 1000)}"
        yield f"{name}_{start:.3f}_{end:.3f}"
        yield f"{name}_{start:.3f}"


def file_of(
    source: Source, youtube_id: str, start: float, end: float, files: str | None
) -> tuple[str | None, float | None, float | None]:
    """(file of a span or None, where to begin and to end in it; None where all of it is the span).

    `files`: the option --files. Errors: ManifestError where a file is named by the id alone and `files` is not given.
    """
    segment = source.find(*names(youtube_id, start, end))
    whole = source.find(youtube_id, f"Y{youtube_id}")
    if segment is not None or whole is None:
        return segment, None, None
    if files is None:
        raise ManifestError(
            f"{whole} is named by the YouTube id alone; give --files segments where such files hold the segments, or "
            "--files videos where they hold the whole videos."
        )
    return (whole, None, None) if files == "segments" else (whole, start, end)
