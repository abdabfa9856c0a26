"""What a decoding process is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from avprep.config import AudioSpec, BuildConfig, Limits
from avprep.manifest.clips import Clip


@dataclass(frozen=True)
class ClipTask:
    """A clip to decode: the row, where its paths start, what to make of it, and where its bytes go."""

    clip: Clip
    root: str
    config: BuildConfig
    limits: Limits
    tar_path: str
    tar_offset: int
    fetched: Mapping[str, str] = field(default_factory=dict)
    """copies on this machine of the clip's files that are at URLs, by their path in the manifest"""
    quality: bool = False
    """whether the clip is measured too"""


@dataclass(frozen=True)
class SoundTask:
    """The sound of one clip, of any length: the row, what to make of it, and the file for its log-mel."""

    clip: Clip
    root: str
    spec: AudioSpec
    limits: Limits
    out: str
    fetched: Mapping[str, str] = field(default_factory=dict)
    """as ClipTask.fetched"""


@dataclass(frozen=True)
class SamplesTask:
    """The samples of one clip's sound: the row, whose seconds count from the start of its sound, and how to read them.

    They are mono at `rate_hz`, the mean of all channels, float32 [N] in the file `out`.
    """

    clip: Clip
    root: str
    rate_hz: int
    decoder: str
    """of BuildConfig"""
    limits: Limits
    out: str
    fetched: Mapping[str, str] = field(default_factory=dict)
    """as ClipTask.fetched"""


Task = ClipTask | SoundTask | SamplesTask
