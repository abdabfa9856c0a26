"""AVE: 10 s of YouTube videos with an event that is both visible and audible, 28 classes (Tian et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Option, Row, seconds_of

if TYPE_CHECKING:
    from avprep.datasets.source import Source

COLUMNS = ("Category", "VideoID", "Quality", "StartTime", "EndTime")
ANNOTATIONS = "Annotations.txt"
LISTS = {"train": "trainSet.txt", "val": "valSet.txt", "test": "testSet.txt"}

Event = tuple[str, str, float, float]
"""category, video, begin and end in it in seconds"""


def rows(source: Source, *, span: str) -> Iterator[Row]:
    """The clips of the three lists; events of Annotations.txt that are in none of them have no split.

    A clip is a video with the labels of all of its events in a list (`whole`), or the span of an event with the labels
    of all events of this span (`event`). The group is the video.
    """
    listed = {split: list(_events(source, name)) for split, name in LISTS.items()}
    labels: dict[tuple[str, ...], list[str]] = {}
    spans: dict[tuple[str, ...], tuple[float, float] | None] = {}
    splits: dict[str, set[str]] = {}
    for split, events in listed.items():
        once: set[Event] = set()
        for event in events:
            category, video, start, end = event
            if event in once:
                source.report.duplicates.append(f"{video} ({category})")
                continue
            once.add(event)
            splits.setdefault(video, set()).add(split)
            key: tuple[str, ...] = (split, video) if span == "whole" else (split, video, f"{start:g}", f"{end:g}")
            labels.setdefault(key, []).append(category)
            spans[key] = None if span == "whole" else (start, end)
    for key, names in labels.items():
        split, video, *times = key
        own = [video] if len(splits[video]) == 1 else [video, split]
        names = list(dict.fromkeys(names))
        start_seconds, end_seconds = spans[key] or (None, None)
        yield Row(
            clip_id="_".join((*own, *times)),
            label=names[0],
            labels=names if len(names) > 1 else (),
            split=split,
            files=[source.at(f"AVE/{video}.mp4")],
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            group=video,
        )
    in_lists = {event for events in listed.values() for event in events}
    for category, video, start, end in _events(source, ANNOTATIONS) if source.has(ANNOTATIONS) else ():
        if (category, video, start, end) not in in_lists:
            yield Row(clip_id=video, label=category, split="", files=[source.at(f"AVE/{video}.mp4")], group=video)


def _events(source: Source, name: str) -> Iterator[Event]:
    for row in source.table(name, COLUMNS, "&"):
        start, end = (seconds_of(row, column, name) for column in ("StartTime", "EndTime"))
        yield row["Category"], row["VideoID"], start, end


ADAPTER = Adapter(
    name="ave",
    title="AVE: 10 s of YouTube videos with an audible and visible event",
    paper="Tian et al. 2018",
    layout="`Annotations.txt`, `trainSet.txt`, `valSet.txt`, `testSet.txt` and `AVE/`",
    labels="1 of 28; a video with several events has the labels of all",
    splits="the three lists",
    licence="none is given; the videos are their authors'",
    example="--root AVE_Dataset",
    rows=rows,
    group="video",
    options=(
        Option(
            flag="--span",
            kind="choice",
            choices=("whole", "event"),
            default="whole",
            help="A clip is the whole file of 10 s, or only the span of its event.",
        ),
    ),
)
