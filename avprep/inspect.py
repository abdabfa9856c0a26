"""avprep inspect: what is in a dataset folder, on one screen or as JSON; also of a build that is not finished."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avprep import schema
from avprep.build.finalize import excluded_clips
from avprep.build.settle import settle
from avprep.build.shards import PlannedShard, read_marker, read_plan
from avprep.dataset import Dataset
from avprep.dataset.history import came, read_history, sentence_of
from avprep.dataset.reading import UNREADABLE
from avprep.errors import UserError
from avprep.shared import names
from avprep.shared.errors import first_line
from avprep.shared.text import readable_bytes


def inspect(folder: Path) -> dict[str, Any]:
    """The facts of a dataset folder as plain JSON values, from its tables alone: no shard is read.

    Counts are of what is built so far. Errors: UserError where the folder holds neither dataset nor build.
    """
    if not (folder / schema.PLAN_BUILD).is_file():
        raise UserError(f"{folder} holds no dataset and no build; 'avprep build-shards' makes one.")
    settle(folder)
    plan, shards = read_plan(folder / schema.PLAN_BUILD)
    finished = (folder / schema.DATASET).is_file()
    markers = _markers(folder, shards)
    done = [(shard, marker) for shard, marker in zip(shards, markers, strict=True) if marker is not None]
    classes = plan["class_names"]
    splits: dict[str, dict[str, Any]] = {}
    for shard in shards:
        of_split = splits.setdefault(shard.split, {"planned": 0, "clips": 0, "hours": 0.0, "classes": {}})
        of_split["planned"] += len(shard.rows)
        of_split["classes"].setdefault(classes[shard.class_id], 0)
    dataset = Dataset(folder) if finished else None
    for split, label, seconds in _clips_of(dataset) if dataset else _clips_so_far(done):
        splits[split]["clips"] += 1
        splits[split]["hours"] += seconds / 3600
        splits[split]["classes"][classes[label]] += 1
    return {
        "folder": str(folder),
        "format": plan.get("format"),
        "finished": finished,
        "digest": dataset.digest if dataset else None,
        "video": plan["config"]["video"],
        "audio": plan["config"]["audio"],
        "num_classes": len(classes),
        "splits": splits,
        "shards": {
            "planned": len(markers),
            "done": len(done),
            "bytes": sum(marker["bytes"] for _, marker in done),
        },
        "failures": dict(Counter(failure["reason"] for _, marker in done for failure in marker["failures"])),
        "excluded": len(excluded_clips(folder)),
        "labels": _labels(folder),
        "logmel": _statistics(dataset) if dataset else None,
        "versions": plan["versions"],
        "history": read_history(folder / schema.HISTORY),
    }


def as_text(facts: dict[str, Any]) -> list[str]:
    """The same for people: lines of one screen."""
    shards, video, audio = facts["shards"], facts["video"], facts["audio"]
    state = f"digest {facts['digest'][:16]}" if facts["finished"] else "not finalized yet"
    clips = sum(split["clips"] for split in facts["splits"].values())
    hours = sum(split["hours"] for split in facts["splits"].values())
    size = video["frame_size"]
    lines = [
        f"{facts['folder']}: {facts['format']}, {state}",
        f"frames    {video['frame_codec']}, {size}x{size} pixels ({video['resize']}, {video['resize_filter']}), "
        f"{video['frame_rate_hz']} a second",
        f"log-mel   {audio['num_mel_bands']} bands of {audio['sample_rate_hz']} Hz, window {audio['window_samples']}, "
        f"hop {audio['hop_samples']} samples",
    ]
    if facts["logmel"]:
        stats = facts["logmel"]
        lines.append(
            f"          over bands of {stats['split']}: mean {_range(stats['mean_db'])} dB, deviation "
            f"{_range(stats['std_db'])} dB"
        )
    lines.append(f"shards    {shards['done']} of {shards['planned']} planned, {readable_bytes(shards['bytes'])}")
    lines.append(f"clips     {clips}, {hours:.2f} hours, {facts['num_classes']} classes")
    lines += [f"  {name:<8}{_split_text(split)}" for name, split in sorted(facts["splits"].items())]
    failures = ", ".join(f"{count} {reason}" for reason, count in sorted(facts["failures"].items()))
    lines.append(f"failures  {failures or 'none'}")
    lines += [f"excluded  {facts['excluded']} on request"] if facts["excluded"] else []
    lines += [f"grown     {sentence_of([change])}" for change in came(facts["history"])]
    lines += [f"labels    {name}: {_labels_text(column)}" for name, column in facts["labels"].items()]
    lines.append(f"versions  {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}")
    return lines


def _clips_of(dataset: Dataset) -> Iterator[tuple[str, int, float]]:
    """(split, label, seconds) of each row of the index."""
    columns = np.array(dataset.splits)[dataset.split], dataset.label, dataset.duration_seconds
    yield from zip(*(column.tolist() for column in columns), strict=True)


def _clips_so_far(done: list[tuple[PlannedShard, dict[str, Any]]]) -> Iterator[tuple[str, int, float]]:
    """The same of the (planned shard, done-marker) pairs of a build."""
    for shard, marker in done:
        for clip in marker["clips"]:
            yield shard.split, shard.class_id, clip["duration_seconds"]


def _markers(folder: Path, shards: list[PlannedShard]) -> list[dict[str, Any] | None]:
    """The done-marker of each planned shard, None where it is not built."""
    paths = (names.inside(folder, schema.marker_path(shard.path)) for shard in shards)
    return [read_marker(folder, shard) if path.is_file() else None for path, shard in zip(paths, shards, strict=True)]


def _labels(folder: Path) -> dict[str, dict[str, Any]]:
    """Label columns beside the manifest's own: classes, clips that have a label; of multi-label ones also how many."""
    columns = {}
    for path in sorted((folder / schema.labels_path("x")).parent.glob("*.parquet")):
        try:
            columns[path.stem] = _label_facts(path)
        except UNREADABLE as error:
            raise UserError(
                f"{path} is no label column ({first_line(error)[:120]}); remove it, or make it again."
            ) from None
    return columns


def _label_facts(path: Path) -> dict[str, int]:
    if "labels" in pq.read_schema(path).names:
        lists = pq.read_table(path, columns=["labels"]).column("labels")
        given, clips = pc.list_flatten(lists), int(pc.sum(pc.greater(pc.list_value_length(lists), 0)).as_py() or 0)
        return {"num_classes": len(given.unique()), "clips": clips, "labels": len(given)}
    table = pq.read_table(path, columns=["label"])
    classes = json.loads((table.schema.metadata or {})[schema.LABEL_NAMES_KEY])
    return {"num_classes": len(classes), "clips": int((table.column("label").to_numpy() >= 0).sum())}


def _statistics(dataset: Dataset) -> dict[str, Any]:
    """Smallest and largest mean and deviation of the mel bands."""
    ranges = {"mean_db": dataset.logmel_mean, "std_db": dataset.logmel_std}
    return {"split": dataset.info["logmel"]["split"]} | {
        name: [float(values.min()), float(values.max())] for name, values in ranges.items()
    }


def _range(pair: list[float]) -> str:
    return f"{pair[0]:.1f} to {pair[1]:.1f}"


def _split_text(split: dict[str, Any]) -> str:
    classes = split["classes"]
    small, large = min(classes, key=classes.__getitem__), max(classes, key=classes.__getitem__)
    return (
        f"{split['clips']} of {split['planned']} planned, {split['hours']:.2f} hours, {len(classes)} classes: "
        f"{classes[small]} ({small}) to {classes[large]} ({large})"
    )


def _labels_text(column: dict[str, Any]) -> str:
    labels = f", {column['labels']} labels" if "labels" in column else ""
    return f"{column['num_classes']} classes, {column['clips']} clips{labels}"
