"""The nearest clips by cosine similarity, chunk by chunk: no matrix of all pairs is ever made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from avprep.shared.commands import Progress

SIMILARITIES_AT_ONCE = 1 << 24
"""of one chunk; 12 bytes each are in memory at once, 16 where two sides are compared"""


def nearest(
    queries: Sequence[np.ndarray],
    bank: Sequence[np.ndarray],
    count: int,
    own: np.ndarray,
    group: np.ndarray | None = None,
    at_once: int = SIMILARITIES_AT_ONCE,
) -> tuple[np.ndarray, np.ndarray]:
    """(positions in the bank int64 [Q, count], similarities float32 [Q, count]) of the nearest to each query.

    `queries` are float32 [Q, D] of length 1, one array a side, `bank` [N, D] alike: similarity is the cosine, with two
    sides the smaller of both. `own` int64 [Q] is each query's own position in the bank, which is never its neighbour;
    -1 where it is not there. `group` int [N], where queries are the bank: nor is a clip of its own group. The nearest
    comes first, of equals the lower position. `count` is at most the number of clips that may be neighbours. Cost:
    Q * N * D; memory beside the arguments: 0.2 to 0.3 GB and 12 bytes a neighbour.
    """
    total, size = len(queries[0]), len(bank[0])
    positions, similarities = np.empty((total, count), np.int64), np.empty((total, count), np.float32)
    rows_at_once = max(1, at_once // size)
    for rows in _parts(total, rows_at_once):
        similar = queries[0][rows] @ bank[0].T
        for side, stored in zip(queries[1:], bank[1:], strict=True):
            np.minimum(similar, side[rows] @ stored.T, out=similar)
        inside = np.flatnonzero(own[rows] >= 0)
        similar[inside, own[rows][inside]] = -np.inf
        if group is not None:
            similar[group[rows][:, None] == group] = -np.inf
        chosen = np.argpartition(similar, size - count, axis=1)[:, size - count :]
        values = np.take_along_axis(similar, chosen, axis=1)
        order = np.lexsort((chosen, -values), axis=1)
        positions[rows] = np.take_along_axis(chosen, order, axis=1)
        similarities[rows] = np.take_along_axis(values, order, axis=1)
    return positions, similarities


def _parts(total: int, at_once: int) -> Iterator[slice]:
    """Rows that are looked at together, with progress."""
    with Progress(total, "clips", "neighbours", from_seconds=2) as progress:
        for begin in range(0, total, at_once):
            rows = slice(begin, min(begin + at_once, total))
            yield rows
            progress.advance(rows.stop - rows.start)
