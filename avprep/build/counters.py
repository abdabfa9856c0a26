"""What has become of a build's clips: counts for the progress line and the report, and the end of a hopeless build."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from avprep.errors import UserError
from avprep.shared.commands import Progress
from avprep.shared.text import readable_bytes


@dataclass(frozen=True)
class ClipOutcome:
    """One clip done with: `reason` and `detail` are '' for a good one, which has `bytes` in its shard."""

    clip_id: str
    path: str
    reason: str
    detail: str
    bytes: int


class Tally:
    """Counts outcomes from any thread, in the order in which they come."""

    def __init__(self, progress: Progress, max_consecutive_failures: int) -> None:
        self._progress, self._limit = progress, max_consecutive_failures
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.good = self.bytes = 0
        self.reasons: Counter[str] = Counter()

    def count(self, outcome: ClipOutcome) -> None:
        """Count one clip. Errors: UserError once too many in a row have failed."""
        with self._lock:
            if outcome.reason:
                self.reasons[outcome.reason] += 1
                self._in_a_row += 1
            else:
                self.good += 1
                self.bytes += outcome.bytes
                self._in_a_row = 0
            self._progress.advance(note=", ".join([readable_bytes(self.bytes), *self.lines()]))
            if self._limit and self._in_a_row >= self._limit:
                raise UserError(
                    f"{self._in_a_row} clips in a row failed, the last {outcome.path} ({outcome.reason}: "
                    f"{outcome.detail}); so far {', '.join(self.lines())}. Check --root and the files and go on with "
                    "--retry-failed, or raise --max-consecutive-failures (0: no limit)."
                )

    def lines(self) -> list[str]:
        """`reason count` for each reason that occurred."""
        return [f"{reason} {count}" for reason, count in sorted(self.reasons.items())]
