"""Sums of the log-mel of many shards, for mean and deviation of each band."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from avprep import schema
from avprep.errors import UserError
from avprep.shared.errors import some_of

SHOWN_CLIPS = 20
SUMMED_TOGETHER = 1024


class BandSums:
    """Exact sums of log-mel bands over any number of shards, in the memory of a thousand."""

    def __init__(self) -> None:
        self.frames = 0
        self._terms: dict[str, list[np.ndarray]] = {"sum": [], "sum_of_squares": []}

    def add(self, logmel: dict[str, Any]) -> None:
        """Add the sums of a shard."""
        if not logmel["frames"]:
            return
        self.frames += logmel["frames"]
        for name, terms in self._terms.items():
            terms.append(np.array(logmel[name], np.float64))
            if len(terms) >= SUMMED_TOGETHER:
                exact = itertools.zip_longest(*map(_exact_terms, np.array(terms).T.tolist()), fillvalue=0.0)
                terms[:] = map(np.array, exact)

    def total(self, name: str) -> np.ndarray:
        """The sum of each band, rounded once, float64 [M]; `name` is sum or sum_of_squares."""
        return np.array([math.fsum(band) for band in zip(*self._terms[name], strict=True)])


def _exact_terms(values: list[float]) -> list[float]:
    """A few numbers whose exact sum is that of `values`: the sum, what rounding took of it, and so on."""
    terms = [math.fsum(values)]
    while terms[-1] and math.isfinite(terms[-1]):
        terms.append(math.fsum(itertools.chain(values, (-term for term in terms))))
    return terms


def band_sums(out: Path, shard: str, marker: dict[str, Any], excluded: set[str]) -> dict[str, Any]:
    """The log-mel sums of a shard as its `marker` has them; where they are not finite, without the clips `excluded`.

    Versions that did not look have stored such clips. Errors: UserError that names those that are not excluded.
    """
    sums = marker["logmel"]
    if all(map(math.isfinite, sums["sum"] + sums["sum_of_squares"])):
        return sums
    if not (out / shard).is_file():
        raise UserError(f"{shard} holds log-mel that is not finite; delete its .tar and .json and build again.")
    total = np.zeros((2, len(sums["sum"])))
    frames, wrong = 0, []
    for clip in marker["clips"]:
        shape = clip["num_mel_frames"], len(sums["sum"])
        with open(out / shard, "rb") as tar:
            tar.seek(clip["logmel_offset"])
            data = tar.read(math.prod(shape) * schema.LOGMEL_DTYPE.itemsize)
        values = np.frombuffer(data, schema.LOGMEL_DTYPE).reshape(shape).astype(np.float64)
        if np.isfinite(values).all():
            total += values.sum(0), np.square(values).sum(0)
            frames += len(values)
        elif clip["clip_id"] not in excluded:
            wrong.append(clip["clip_id"])
    if wrong:
        raise UserError(
            f"{shard} holds log-mel that is not finite, of {some_of(wrong, SHOWN_CLIPS)}; take them out with "
            f"'avprep exclude', or delete the shard's .tar and .json and repeat the build, in which they then fail."
        )
    return {"frames": frames, "sum": total[0].tolist(), "sum_of_squares": total[1].tolist()}
