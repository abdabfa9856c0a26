"""A fault, what it must end in, and the trials that say whether it does."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.running import HungError
from tests.faults.untouched import Untouched

DRAWS = 8  # of a moment, until the fault comes while there is work


class MissedError(Exception):
    """The work was over before the fault came."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What a trial came to, whose processes all did what was promised of them."""

    moment: str
    lost_clips: int = 0
    wrong_bytes: int = 0
    recovery_seconds: float = 0.0
    """from the fault to the finished work"""


Trial = Callable[[random.Random, Path, Untouched], Ending]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault by name, what it must end in, and a trial of it.

    A trial raises AssertionError with what else it ended in, HungError past the deadline, MissedError.
    """

    name: str
    promise: str
    trial: Trial
    lacks: Callable[[], str] = lambda: ""
    """what this machine lacks for it, '' if nothing"""


@dataclass
class Tally:
    """The trials of a fault so far."""

    fault: Fault
    lacking: str = ""
    endings: list[Ending] = field(default_factory=list)
    broken: int = 0
    hangs: int = 0

    @property
    def trials(self) -> int:
        """Trials made."""
        return len(self.endings) + self.broken + self.hangs

    @property
    def held(self) -> int:
        """Trials that ended as promised."""
        return sum(not ending.lost_clips and not ending.wrong_bytes for ending in self.endings)

    def line(self) -> str:
        """The fault's line of the table."""
        if self.lacking:
            return f"| {self.fault.name} | {self.fault.promise} | not run: {self.lacking} | | | | | |"
        lost = sum(ending.lost_clips for ending in self.endings)
        wrong = sum(ending.wrong_bytes for ending in self.endings)
        seconds = [ending.recovery_seconds for ending in self.endings]
        median = f"{statistics.median(seconds):.1f}" if seconds else ""
        return (
            f"| {self.fault.name} | {self.fault.promise} | {self.trials} | {self.held} | {lost} | {wrong} | "
            f"{self.hangs} | {median} |"
        )


HEAD = (
    "| fault | must end in | trials | held | lost clips | wrong bytes | hangs | median seconds to recover |\n"
    "|---|---|---|---|---|---|---|---|"
)


def campaign(
    faults: list[Fault], trials: int, seed: int, untouched: Untouched, tell: Callable[[str], None]
) -> Iterator[Tally]:
    """The tally of each fault as its trials are over; `tell` hears of each trial. Broken trials leave their folder."""
    for fault in faults:
        tally = Tally(fault, fault.lacks())
        for number in range(0 if tally.lacking else trials):
            place = untouched.folder / f"{fault.name}-{number}"
            begin = time.monotonic()
            how = _one(tally, random.Random(f"{seed} {fault.name} {number}"), place, untouched)
            tell(f"{fault.name} {number}: {how} ({time.monotonic() - begin:.1f} s)")
        yield tally


def _one(tally: Tally, draw: random.Random, place: Path, untouched: Untouched) -> str:
    """Make one trial and count it; what came of it."""
    for _ in range(DRAWS):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        try:
            ending = tally.fault.trial(draw, place, untouched)
        except (MissedError, psutil.NoSuchProcess):  # what was to be killed had just ended
            continue
        except (HungError, subprocess.TimeoutExpired) as error:
            tally.hangs += 1
            return f"HUNG: {error}; see {place}"
        except Exception as error:  # such as a file that is not there
            tally.broken += 1
            return f"BROKEN: {error!r}; see {place}"
        tally.endings.append(ending)
        if ending.lost_clips or ending.wrong_bytes:
            lost = f"{ending.lost_clips} clips lost, {ending.wrong_bytes} bytes wrong"
            return f"BROKEN: {ending.moment}: {lost}; see {place}"
        shutil.rmtree(place)
        return f"held: {ending.moment}, whole again after {ending.recovery_seconds:.1f} s"
    tally.broken += 1
    return f"BROKEN: the work was over before the fault came, {DRAWS} times"
