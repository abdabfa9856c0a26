"""Pairs of clips of whose hashes (quality.hashes) most bits agree, at some offset between the two.

Candidates come from sorting: of all hashes in one order of their bits, those that begin alike are neighbours, and each
is compared with a few that follow (G. S. Manku, A. Jain, A. Das Sarma, "Detecting Near-Duplicates for Web Crawling",
WWW 2007). Several orders of the bits make up for bits that differ early in one of them. Cost is in proportion to the
hashes, however many are alike. Then all hashes that two clips share at the candidate's offset are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TABLES = 8
"""orders of the bits"""
NEIGHBOURS = 16
"""that each hash is compared with in one order"""
SHARED = 8
"""hashes, a second, that two clips share at least for the whole limit; with fewer it is lower in proportion"""
LEAST_BITS = 4
"""that are 1 in either clip's hashes, on average: with fewer there is nothing to compare"""
CHUNK_HASHES = 1 << 22
OFFSETS = 1 << 15
"""no clip has more hashes than half of them: 2048 seconds"""


@dataclass(frozen=True)
class Hashes:
    """Hashes of several clips: those of clip i are values[begins[i]:begins[i + 1]], uint64."""

    begins: np.ndarray
    values: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """int64 [clips]: hashes of each clip."""
        return np.diff(self.begins)


@dataclass(frozen=True)
class Candidates:
    """Pairs of clips first < second; hash `offset` + k of the first is of the same moment as hash k of the second."""

    first: np.ndarray
    second: np.ndarray
    offset: np.ndarray

    def near(self) -> Candidates:
        """These and those one hash earlier and later, each once."""
        offsets = (self.offset[:, None] + np.array([-1, 0, 1])).ravel()
        return unique(Candidates(np.repeat(self.first, 3), np.repeat(self.second, 3), offsets))

    def joined(self, other: Candidates) -> Candidates:
        """These and others, each once."""
        columns = ("first", "second", "offset")
        return unique(Candidates(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in columns)))

    def some(self, rows: np.ndarray) -> Candidates:
        """Those of `rows`."""
        return Candidates(self.first[rows], self.second[rows], self.offset[rows])


def unique(pairs: Candidates) -> Candidates:
    """The candidates in order, each once."""
    clips = int(pairs.second.max(initial=0)) + 1
    coded = np.unique((pairs.first * clips + pairs.second) * OFFSETS + pairs.offset + OFFSETS // 2)
    both, offset = np.divmod(coded, OFFSETS)
    first, second = np.divmod(both, clips)
    return Candidates(first, second, offset - OFFSETS // 2)


def candidates(hashes: Hashes, limit: float, step: Callable[[], None] = lambda: None) -> Candidates:
    """Pairs of clips with a pair of hashes of which at most `limit` of the bits differ; most such pairs, not all.

    `step` is called after each of TABLES parts of the work.
    """
    clip = np.repeat(np.arange(len(hashes.counts), dtype=np.int32), hashes.counts)
    position = (np.arange(len(clip)) - hashes.begins[clip]).astype(np.int32)
    again = np.zeros(len(clip), bool)  # the same as the hash before
    again[1:] = (hashes.values[1:] == hashes.values[:-1]) & (clip[1:] == clip[:-1])
    kept = np.flatnonzero((hashes.values != 0) & ~again & (position < OFFSETS // 2))
    clip, position, values = clip[kept], position[kept], hashes.values[kept]
    pairs = Candidates(*(np.zeros(0, np.int64) for _ in range(3)))
    for table in range(TABLES):
        order = np.argsort(_reordered(values, table))
        ones, others = _neighbours(values[order], clip[order], limit)
        one, other = order[ones], order[others]
        turned = clip[one] > clip[other]
        one, other = np.where(turned, other, one), np.where(turned, one, other)
        offset = position[one].astype(np.int64) - position[other]
        pairs = pairs.joined(Candidates(clip[one].astype(np.int64), clip[other].astype(np.int64), offset))
        step()
    return pairs


def distances(hashes: Hashes, pairs: Candidates) -> np.ndarray:
    """float32 [pairs]: share of bits that differ, of those that are 1 in either clip's hashes of the same moments.

    It is divided by the share of SHARED hashes that clips have in common where these are fewer. NaN: the clips have
    less than two thirds of the shorter one in common, or hardly any bit is 1.
    """
    counts = hashes.counts
    begin = np.maximum(pairs.offset, 0)
    shared = np.minimum(counts[pairs.first], counts[pairs.second] + pairs.offset) - begin
    shorter = np.minimum(counts[pairs.first], counts[pairs.second])
    result = np.full(len(shared), np.nan, np.float32)
    todo = np.flatnonzero((shared > 0) & (3 * shared >= 2 * shorter))
    ends = np.cumsum(shared[todo])
    cuts = np.arange(CHUNK_HASHES, ends[-1] if len(ends) else 0, CHUNK_HASHES)
    for part in np.split(todo, np.searchsorted(ends, cuts)):
        if not len(part):
            continue
        count = shared[part]
        starts = np.cumsum(count) - count
        within = np.arange(count.sum()) - np.repeat(starts, count)
        one = hashes.values[np.repeat(hashes.begins[pairs.first[part]] + begin[part], count) + within]
        first_of_other = hashes.begins[pairs.second[part]] + begin[part] - pairs.offset[part]
        other = hashes.values[np.repeat(first_of_other, count) + within]
        different = np.add.reduceat(bits(one ^ other), starts, dtype=np.int64)
        either = np.add.reduceat(bits(one | other), starts, dtype=np.int64)
        known = either >= LEAST_BITS * count
        share = different / np.maximum(either, 1) / np.minimum(count / SHARED, 1)
        result[part[known]] = share[known]
    return result


def bits(values: np.ndarray) -> np.ndarray:
    """uint8 [N]: how many bits of uint64 [N] are 1."""
    if hasattr(np, "bitwise_count"):  # from numpy 2.0 on
        return np.bitwise_count(values)
    ones, fours = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
    pairs = values - ((values >> np.uint64(1)) & ones)
    quads = (pairs & fours) + ((pairs >> np.uint64(2)) & fours)
    eights = (quads + (quads >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return ((eights * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)


def _reordered(values: np.ndarray, table: int) -> np.ndarray:
    """The hashes with their bits in another order, byte by byte from a table of all bytes; table 0 keeps the order."""
    order = np.arange(64) if table == 0 else np.random.default_rng(table).permutation(64)
    out = np.zeros(len(values), np.uint64)
    for byte in range(8):
        lookup = np.zeros(256, np.uint64)
        for bit in range(8):
            mine = (np.arange(256) >> bit & 1).astype(np.uint64)
            lookup |= mine << np.uint64(order[8 * byte + bit])
        out |= lookup[(values >> np.uint64(8 * byte)) & np.uint64(255)]
    return out


def _neighbours(values: np.ndarray, clip: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """(positions, positions) of hashes of two clips that are near each other in a sorted list and differ little."""
    share = np.float32(limit)
    ones, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for step in range(1, min(NEIGHBOURS, len(values) - 1) + 1):
        one, other = values[:-step], values[step:]
        near = bits(one ^ other) <= share * bits(one | other)
        near &= clip[:-step] != clip[step:]
        ones.append(np.flatnonzero(near))
        others.append(ones[-1] + step)
    return np.concatenate(ones), np.concatenate(others)
