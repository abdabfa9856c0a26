"""How fast a run goes, for its progress line and its last line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from avtrain.data.batches import Batch


class Throughput:
    """Pairs a second and the share of time waited for data, since this was made; time within `apart()` is left out."""

    def __init__(self) -> None:
        self._begin, self._apart, self._pairs, self._waited = time.perf_counter(), 0.0, 0, 0.0

    def add(self, batch: Batch) -> None:
        """Count the pairs of a batch, over all ranks, and what this rank waited for it."""
        self._pairs += batch.global_size
        self._waited += batch.waited_seconds

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Time that is no training."""
        begin = time.perf_counter()
        yield
        self._apart += time.perf_counter() - begin

    @property
    def pairs_per_second(self) -> float:
        """Pairs of all ranks a second."""
        return self._pairs / self.seconds

    @property
    def waited_share(self) -> float:
        """Share of the time, 0 to 1, in which no batch was ready."""
        return self._waited / self.seconds

    def __str__(self) -> str:
        return f"{self.pairs_per_second:.0f} pairs/s, {100 * self.waited_share:.1f} % waited"

    @property
    def seconds(self) -> float:
        """Time so far, without that apart."""
        return max(time.perf_counter() - self._begin - self._apart, 1e-9)
