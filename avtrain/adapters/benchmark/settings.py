"""What goes into a task's process and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and how."""

    suite: str
    run: str
    """folder of a run, a checkpoint or an export"""
    side: str = "audio"
    projection: bool | None = None
    weights: str = "auto"
    device: str = "cpu"
    threads: int | None = None
    batch_size: int = 16
    data: str = ""
    """folder of the suite's task data"""
    download: bool = False


@dataclass(frozen=True)
class Job:
    """A task to run: its name, the digest of code or clips of the user's ('' for the suite's own), its work folder."""

    settings: Settings
    task: str
    digest: str
    work: Path
    log: Path


@dataclass(frozen=True)
class Score:
    """What a task gave: the suite's main score by name, further ones, or why there is none."""

    metric: str = ""
    value: float = 0.0
    further: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str = ""
