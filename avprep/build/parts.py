"""The parts of a dataset: a build is one part, and each append adds one behind those that are there.

A part has rows of the manifest, one after the other, and shards of its own, whose markers bear its digest. build.json
of a dataset of several parts has `parts`, each with what its own build.json would have, and `rows` and `classes`: how
many clips it has, and how many of the class names were known to it. New class names come behind the old ones, so that
neither a row nor a class id ever changes.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avprep import schema
from avprep.build.shards import NOTHING_THERE, PlannedShard, plan_shards
from avprep.config import BuildConfig, ShardSpec, config_of
from avprep.manifest.clips import Clip, Clips, digest_values
from avprep.shared import configs
from avprep.shared.values import speaking_of, texts, whole_number

PARTS, ROWS, CLASSES, FIRST_ROW = "parts", "rows", "classes", "first_row"
SIZES = (ROWS, CLASSES)
NOT_OF_A_PART = (PARTS, "class_names", "shards")


@dataclass(frozen=True)
class Part:
    """What was built at one time: `rows` of the manifest from `first_row` on, by the class names of that time."""

    first_row: int
    rows: int
    classes: int
    plan: dict[str, Any]
    """format, config, manifest_digest, versions, config_digest; and first_row, unless it is 0"""

    @property
    def digest(self) -> str:
        """That of the markers of its shards."""
        return str(self.plan["config_digest"])

    @property
    def config(self) -> BuildConfig:
        """The options that its shards were built with."""
        return config_of(self.plan["config"])

    def digest_by(self, class_names: Sequence[str]) -> str:
        """The digest that its values have, with all `class_names` of the dataset."""
        values = {name: value for name, value in self.plan.items() if name != "config_digest"}
        return configs.digest(values | {"class_names": list(class_names[: self.classes])})


def new_part(
    clips: Iterable[Clip],
    class_names: Sequence[str],
    config: Mapping[str, Any],
    versions: Mapping[str, str],
    first_row: int,
) -> Part:
    """The part of `clips`, which come behind `first_row` others; `config` as stored."""
    clips = clips if isinstance(clips, Sequence) else list(clips)
    plan = {
        "format": schema.FORMAT,
        "config": dict(config),
        "manifest_digest": manifest_digest(clips),
        "versions": dict(versions),
        **({FIRST_ROW: first_row} if first_row else {}),
    }
    part = Part(first_row, len(clips), len(class_names), plan)
    plan["config_digest"] = part.digest_by(class_names)
    return part


def parts_of(plan: Mapping[str, Any], shards: Sequence[PlannedShard], source: object = schema.PLAN_BUILD) -> list[Part]:
    """The parts of the values of build.json and its shards. Errors: UserError where `source` does not have them."""
    if PARTS not in plan:
        own = {name: value for name, value in plan.items() if name not in NOT_OF_A_PART}
        return [Part(0, sum(len(shard.rows) for shard in shards), len(plan["class_names"]), own)]
    parts: list[Part] = []
    with speaking_of(source):
        for values in plan[PARTS]:
            own = {name: value for name, value in values.items() if name not in SIZES}
            texts([own["config_digest"], *dict(own["versions"]).values()], "config_digest")
            first = parts[-1].first_row + parts[-1].rows if parts else 0
            rows, classes = (whole_number(values[name], name) for name in SIZES)
            if own.get(FIRST_ROW, 0) != first:
                raise ValueError(f"a part begins with row {own.get(FIRST_ROW, 0)}, not {first}")
            parts.append(Part(first, rows, classes, own))
        if not parts:
            raise ValueError("it has no part")
    return parts


def digests_of(parts: Sequence[Part]) -> Callable[[PlannedShard], str]:
    """The digest that a shard's marker must have: that of the part of its rows."""
    begins = [part.first_row for part in parts]
    return lambda shard: parts[bisect.bisect_right(begins, shard.rows[0]) - 1].digest


def plan_of(parts: Sequence[Part], clips: Iterable[Clip], class_names: Sequence[str]) -> dict[str, Any]:
    """The values of build.json, but its shards, of a dataset of these parts; `clips` are those of all of them."""
    plan = {
        "format": schema.FORMAT,
        "config": parts[0].plan["config"],
        "manifest_digest": manifest_digest(clips),
        "class_names": list(class_names),
        "versions": parts[0].plan["versions"],
        PARTS: [{**part.plan, ROWS: part.rows, CLASSES: part.classes} for part in parts],
    }
    return plan | {"config_digest": configs.digest(plan)}


def shards_of(
    parts: Sequence[Part],
    clips: Clips,
    class_names: list[str],
    there: Mapping[tuple[str, int], int] = NOTHING_THERE,
) -> list[PlannedShard]:
    """The shards of parts, one part after the other; `clips` are theirs alone, and `there` as for plan_shards.

    Errors: as plan_shards.
    """
    there = Counter(there)
    planned: list[PlannedShard] = []
    for part in parts:
        begin = part.first_row - parts[0].first_row
        own = clips if len(parts) == 1 else Clips(itertools.islice(clips, begin, begin + part.rows))
        spec = ShardSpec(**part.plan["config"]["shards"])
        new = plan_shards(own, class_names, spec, part.first_row, there)
        there.update((shard.split, shard.class_id) for shard in new)
        planned += new
    return planned


def manifest_digest(clips: Iterable[Clip]) -> str:
    """Hex sha256 of the rows of a manifest, whatever its file format; taken a row at a time."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    state = hashlib.sha256(b"[")
    for row, clip in enumerate(clips):
        state.update(("," if row else "").encode() + encode(digest_values(clip)).encode())
    state.update(b"]")
    return state.hexdigest()
