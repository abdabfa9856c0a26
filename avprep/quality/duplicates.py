"""Near duplicates of a dataset: pairs of clips with alike pictures and sounds, joined to groups, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from avprep.dataset import Dataset
from avprep.manifest.id_lists import write_ids
from avprep.quality.hashes import HASHES_PER_SECOND
from avprep.quality.near import TABLES, Candidates, Hashes, candidates, distances
from avprep.quality.table import read_quality
from avprep.shared import store
from avprep.shared.commands import Progress
from avprep.shared.configs import check, to_dict

KINDS = {"both": ("picture", "sound"), "pictures": ("picture",), "sounds": ("sound",)}
FIRST_STEP = {"picture": 1.0, "sound": 0.8}
"""of the limit that two single hashes have: those of sound vary more from one eighth of a second to the next"""
TRAINING = "train"
"""the split whose clips go before others where one of a group is kept"""
COLUMNS = (
    "group",
    "across_splits",
    "clip_id",
    "split",
    "label",
    "other_clip_id",
    "other_split",
    "other_label",
    "offset_seconds",
    "picture_distance",
    "sound_distance",
)
"""of the table, one row a pair"""


@dataclass(frozen=True, kw_only=True)
class DuplicatesConfig:
    """What counts as a near duplicate."""

    by: str = "both"
    """`both`: pictures and sounds are alike, where both clips have them; `pictures` or `sounds`: those alone"""
    picture_distance: float = 0.32
    """largest share of the bits of the pictures' hashes that differ, of those that are 1 in either clip"""
    sound_distance: float = 0.57
    """the same for the sounds' hashes"""

    def __post_init__(self) -> None:
        check(self.by in KINDS, f"by must be one of {', '.join(KINDS)}, not {self.by!r}.")
        for name in ("picture_distance", "sound_distance"):
            value = getattr(self, name)
            check(0 <= value < 1, f"{name} must be 0 or more and below 1, not {value}.")

    def limit(self, kind: str) -> float:
        """The largest distance of a kind, `picture` or `sound`."""
        return float(getattr(self, f"{kind}_distance"))


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near duplicates, rows of the index, those of groups across splits first; groups count from 0."""

    dataset: Dataset
    config: DuplicatesConfig
    first: np.ndarray
    second: np.ndarray
    group: np.ndarray
    """int64 [pairs], rising"""
    across: np.ndarray
    """bool [pairs]: whether the pair's group has clips of several splits"""
    offset_seconds: np.ndarray
    """float64 [pairs]: when the second clip begins, in seconds of the first; to an eighth of a second"""
    distances: dict[str, np.ndarray]
    """float32 [pairs] of each kind; NaN: not compared"""

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.group.max(initial=-1)) + 1

    @property
    def groups_across(self) -> int:
        """How many of them have clips of several splits."""
        return len(np.unique(self.group[self.across]))

    def rows_of_groups(self) -> list[np.ndarray]:
        """Rows of the index of each group, rising."""
        both = np.concatenate([self.first, self.second])
        group = np.concatenate([self.group, self.group])
        order = np.lexsort((both, group))
        cuts = np.searchsorted(group[order], np.arange(1, self.groups))
        return [np.unique(rows) for rows in np.split(both[order], cuts)] if self.groups else []

    def surplus(self) -> np.ndarray:
        """Rows of the index of all clips of each group but one: one outside of the training split, else the first."""
        left = []
        for rows in self.rows_of_groups():
            training = np.array([self.dataset.splits[split] == TRAINING for split in self.dataset.split[rows]])
            left.append(np.delete(rows, np.argmin(training)))
        return np.sort(np.concatenate(left)) if left else np.zeros(0, np.int64)

    def table(self) -> pa.Table:
        """The table of COLUMNS; a distance that was not compared is null."""
        dataset = self.dataset
        names, splits = np.array(dataset.class_names, object), np.array(dataset.splits, object)

        def distance(kind: str) -> pa.Array:
            values = self.distances.get(kind, np.full(len(self.first), np.nan, np.float32))
            return pa.array(values, pa.float32(), mask=np.isnan(values))

        columns: list[Any] = [pa.array(self.group), pa.array(self.across)]
        for rows in (self.first, self.second):
            columns.append(dataset.ids_of(rows).cast(pa.string()))
            columns.append(pa.array(splits[dataset.split[rows]], pa.string()))
            columns.append(pa.array(names[dataset.label[rows]], pa.string()))
        columns += [pa.array(self.offset_seconds), distance("picture"), distance("sound")]
        return pa.table(columns, names=list(COLUMNS))


def near_duplicates(dataset: Dataset, config: DuplicatesConfig) -> Duplicates:
    """All near duplicates within and across splits, from quality.parquet alone.

    Errors: UserError where that is missing or of an earlier state. Cost: about a second for 10,000 clips of 10 s.
    """
    kinds = KINDS[config.by]
    table = read_quality(dataset, [f"{kind}_hashes" for kind in kinds])
    hashes = {kind: hashes_of(table.column(f"{kind}_hashes")) for kind in kinds}
    pairs, compared = pairs_of(hashes, config)
    count, member = connected_components(
        coo_matrix((np.ones(len(pairs.first), bool), (pairs.first, pairs.second)), shape=(len(dataset), len(dataset))),
        directed=False,
    )
    component = member[pairs.first]
    several = np.zeros(count, bool)
    differs = dataset.split[pairs.first] != dataset.split[pairs.second]
    several[component[differs]] = True
    across = several[component]
    earliest = np.full(count, len(dataset))
    np.minimum.at(earliest, component, pairs.first)
    order = np.lexsort((pairs.second, pairs.first, earliest[component], ~across))
    new = np.diff(component[order], prepend=-1) != 0
    return Duplicates(
        dataset,
        config,
        pairs.first[order],
        pairs.second[order],
        np.cumsum(new) - 1,
        across[order],
        pairs.offset[order] / HASHES_PER_SECOND,
        {kind: values[order] for kind, values in compared.items()},
    )


def pairs_of(hashes: dict[str, Hashes], config: DuplicatesConfig) -> tuple[Candidates, dict[str, np.ndarray]]:
    """(pairs of clips that are near in each kind in which they can be compared, float32 distances of each kind).

    Each pair once, at its best offset, which is common to both kinds.
    """
    tried, compared = None, {}
    with Progress(len(hashes) * (TABLES + 1), "steps", "duplicates", from_seconds=2) as progress:
        for kind, mine in hashes.items():
            some = candidates(mine, FIRST_STEP[kind] * config.limit(kind), progress.advance)
            tried = some if tried is None else tried.joined(some)
        assert tried is not None
        tried = tried.near()
        for kind, mine in hashes.items():
            compared[kind] = distances(mine, tried)
            progress.advance()
    with np.errstate(invalid="ignore"):
        worst = np.fmax.reduce([values / max(config.limit(kind), 1e-6) for kind, values in compared.items()])
        good = np.flatnonzero(worst <= 1)
    order = good[np.lexsort((worst[good], tried.second[good], tried.first[good]))]
    first, second = tried.first[order], tried.second[order]
    best = order[(np.diff(first, prepend=-1) != 0) | (np.diff(second, prepend=-1) != 0)]
    return tried.some(best), {kind: values[best] for kind, values in compared.items()}


def hashes_of(column: pa.ChunkedArray) -> Hashes:
    """The hashes of a column of quality.parquet; a clip without any has none."""
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.chunk(0) if lists.num_chunks else pa.array([], lists.type)
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return Hashes(np.append(0, np.cumsum(lengths, dtype=np.int64)), lists.flatten().to_numpy(zero_copy_only=False))


def write_duplicates(duplicates: Duplicates, out: Path) -> None:
    """Write the table as CSV or Parquet, by the ending of `out`, atomically."""
    table = duplicates.table()
    with store.atomic_path(out) as temporary:
        if out.suffix.lower() == ".csv":
            pyarrow.csv.write_csv(table, temporary)
        else:
            pq.write_table(table, temporary)


def write_surplus(duplicates: Duplicates, out: Path) -> int:
    """Write the ids of all clips of each group but one, for 'avprep exclude --ids'; returns how many."""
    rows = duplicates.surplus()
    settings = ", ".join(f"{name}={value}" for name, value in to_dict(duplicates.config).items())
    comment = f"avprep duplicates {duplicates.dataset.folder}: all but one of each group; {settings}"
    write_ids(out, duplicates.dataset.ids_of(rows).to_pylist(), comment)
    return len(rows)
