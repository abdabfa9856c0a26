"""The default decoder: PyAV, in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from avprep.config import Limits, VideoSpec
from avprep.media import probe
from avprep.media.audio import Sound
from avprep.media.video import VideoTrack


@contextlib.contextmanager
def open_pictures(path: Path, spec: VideoSpec, limits: Limits) -> Iterator[VideoTrack]:
    """The pictures of a file; those that no tick needs are left undecoded where that changes nothing."""
    with probe.open_media(path, limits, "vide") as container:
        yield VideoTrack(container, spec, limits, reopen=lambda: probe.open_media(path, limits, "vide"))


@contextlib.contextmanager
def open_sound(path: Path, limits: Limits, downmix: str = "mean") -> Iterator[Sound]:
    """The sound of a file, to be mixed to mono by AudioSpec.downmix."""
    with probe.open_media(path, limits, "soun") as container:
        header = probe.header(container, probe.audio_stream(container))
        yield Sound(container=container, header=header, downmix=downmix)
