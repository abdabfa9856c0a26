"""Where the time of an update goes: `avtrain pretrain --profile N`.

After WARM updates, N are timed part by part, and N more are traced by torch's profiler. While parts are timed, the
device is waited for at the end of each, so that a part has the time of its own work; the trace has no such waits.
RUN/profile/STEP-table.txt has the parts and the longest operations, STEP-trace.json.gz the trace (Chrome, Perfetto).
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.data.batches import Batch

FOLDER = "profile"
WARM = 3
LONGEST = 25
REST = "rest"

log = logging.getLogger(__name__)


def check_profile(updates: int, left: int) -> None:
    """Raise UserError where a run that has `left` updates to make ends before so many are profiled."""
    wanted = WARM + 2 * updates
    if updates and left < wanted:
        raise UserError(
            f"--profile {updates} takes {wanted} updates ({WARM} to warm up, {updates} timed, {updates} traced), and "
            f"this run has {left} to make; choose a smaller number, or more --epochs or --max-steps."
        )


class Unprofiled:
    """Does nothing: updates as they are."""

    def part(self, _name: str) -> AbstractContextManager[object]:
        """Within it, a part of an update is made."""
        return contextlib.nullcontext()

    def batches(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """The batches; waiting for them is a part."""
        return batches

    def updated(self) -> None:
        """An update is over."""

    def close(self) -> None:
        """Training is over."""


class Profiler(Unprofiled):
    """Times and traces `updates` updates each, and writes both into the folder of the run."""

    def __init__(self, updates: int, run: Path, first_step: int, device: str) -> None:
        self._updates, self._made = updates, 0
        self._stem = run / FOLDER / f"{first_step + WARM:08d}"
        self._cuda = device.startswith("cuda")
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0
        self._trace: profile | None = None

    def part(self, name: str) -> AbstractContextManager[object]:
        if self._trace is not None:
            return record_function(name)
        return self._timed(name) if self._open else contextlib.nullcontext()

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        source = iter(batches)
        while True:
            with self.part("waiting for a batch"):
                batch = next(source, None)
            if batch is None:
                return
            yield batch

    def updated(self) -> None:
        self._made += 1
        timed, traced = WARM + self._updates, WARM + 2 * self._updates
        if self._made == WARM:
            self._since = self._now()
            self._open = [REST]
        elif self._made == timed:
            self._lap()
            self._open = []
            self._trace = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])])
            self._trace.start()
            self._since = self._now()
        elif self._made == traced and self._trace is not None:
            seconds = self._now() - self._since
            self._trace.stop()
            self._write(self._trace, seconds)
            self._trace = None

    def close(self) -> None:
        if self._made < WARM + 2 * self._updates:
            log.warning("the run stopped before --profile %d was through; nothing is written of it", self._updates)
        if self._trace is not None:
            self._trace.stop()

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Count the time within it for a part, and not for the part around it."""
        self._lap()
        self._open.append(name)
        try:
            yield
        finally:
            if self._open:
                self._lap()
                self._open.pop()

    def _lap(self) -> None:
        """Count the time since the last lap for the innermost part."""
        now = self._now()
        self._seconds[self._open[-1]] = self._seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _write(self, trace: profile, traced_seconds: float) -> None:
        table = self._parts(traced_seconds)
        log.info("%s", table)
        order = f"self_{'device' if self._cuda else 'cpu'}_time_total"
        longest = trace.key_averages().table(sort_by=order, row_limit=LONGEST, max_name_column_width=60)
        text, chrome = (self._stem.with_name(self._stem.name + end) for end in ("-table.txt", "-trace.json.gz"))
        text.parent.mkdir(exist_ok=True)
        with store.refusals_reported(text):
            store.write_bytes(text, f"{table}\n\n{longest}\n".encode())
            with tempfile.TemporaryDirectory(prefix="avtrain-") as scratch:
                plain = Path(scratch) / "trace.json"
                trace.export_chrome_trace(str(plain))
                with (
                    open(plain, "rb") as source,
                    store.atomic_path(chrome) as temporary,
                    gzip.open(temporary, "wb") as packed,
                ):
                    shutil.copyfileobj(source, packed)
        log.info("%s and %s of %s have more", text.name, chrome.name, FOLDER)

    def _parts(self, traced_seconds: float) -> str:
        """Lines of the parts, longest first, milliseconds an update and shares."""
        total = sum(self._seconds.values())
        each = 1000 / self._updates
        lines = [f"{'part of an update':30} {'ms':>9} {'share':>7}"]
        for name, seconds in sorted(self._seconds.items(), key=lambda item: -item[1]):
            lines.append(f"{name:30} {each * seconds:9.2f} {100 * seconds / total:6.1f} %")
        lines.append(f"{'all, waiting after each part':30} {each * total:9.2f}")
        lines.append(f"{'all, as traced':30} {each * traced_seconds:9.2f}")
        return "\n".join(lines)
